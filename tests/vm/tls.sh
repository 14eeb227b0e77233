# TLS, two connections: plaintext and clients without a certificate are refused; ext4 verified while the key changes
PKI=/job/pki
create v 192MiB
serve v --nbd tcp:127.0.0.1:10809 --tls-certificate $PKI/server.pem --tls-key $PKI/server.key --tls-client-ca $PKI/ca.pem
over_tcp() { nbd-client 127.0.0.1 10809 /dev/nbd0 -N v -b 4096 -t $TIMEOUT "$@"; }
# refused WHOM WORDS OPTION…: no device, and one of the two says why.
refused() {
    local whom=$1 words=$2 logged
    shift 2
    logged=$(wc -l <$STORE/v.log)
    over_tcp "$@" >/run/said 2>&1 && attached nbd0 && fail "attached $whom"
    cat /run/said >>$STORE/nbd-client.log
    [[ $(cat /run/said; tail -n +$((logged + 1)) $STORE/v.log) == *"$words"* ]] || fail "refused $whom, but not for that"
    note "refused $whom"
}
own=(-certfile $PKI/client.pem -keyfile $PKI/client.key)
authority=(-cacertfile $PKI/ca.pem)
refused "in plaintext" "without TLS"
refused "without a certificate" "peer sent no certificates" "${authority[@]}" -tlshostname server.example
refused "under another name of the server" "invalid negotiation magic" "${authority[@]}" -tlshostname other.example "${own[@]}"

connect nbd0 127.0.0.1 10809 /dev/nbd0 -N v -b 4096 -t $TIMEOUT -C 2 "${authority[@]}" -tlshostname server.example "${own[@]}"
is "$(queues nbd0)" 2 "hardware queues"
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
rotate_beside_client v
umount /mnt
intact ext4 /dev/nbd0
detach nbd0
stop v
