# TLS, two connections: plaintext and clients without a certificate are refused; ext4 verified while the key changes
PKI=/job/pki
create v 192MiB
serve v --nbd tcp:127.0.0.1:10809 --tls-certificate $PKI/server.pem --tls-key $PKI/server.key --tls-client-ca $PKI/ca.pem
over_tcp() { nbd-client 127.0.0.1 10809 /dev/nbd0 -N v -b 4096 -t $TIMEOUT "$@"; }
refused() {
    local whom=$1
    shift
    over_tcp "$@" >>$STORE/nbd-client.log 2>&1 && attached nbd0 && fail "attached $whom"
    note "refused $whom"
}
refused "in plaintext"
refused "without a certificate" -A $PKI/ca.pem -H server.example
refused "under another name of the server" -A $PKI/ca.pem -H other.example -F $PKI/client.pem -K $PKI/client.key

connect nbd0 127.0.0.1 10809 /dev/nbd0 -N v -b 4096 -t $TIMEOUT -C 2 \
    -A $PKI/ca.pem -H server.example -F $PKI/client.pem -K $PKI/client.key
is "$(queues nbd0)" 2 "hardware queues"
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
for ((round = 0; round < ROUNDS; round++)); do
    client /mnt/file 16 & CLIENT=$!
    begin_rotation v $CLIENT 16MiB
    client_ends $CLIENT
    end_rotation v
done
umount /mnt
intact ext4 /dev/nbd0
detach nbd0
stop v
