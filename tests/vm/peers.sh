# Two hosts, a replica on each, md RAID1 over both: one key change, one daemon killed in the middle, both legs agree, old key destroyed
TIMEOUT=4
declare -A ADDRESS=([a]=10.77.0.1 [b]=10.77.0.2)
in_sync() { grep -q '\[UU\]' /proc/mdstat; }
degraded() { grep -q '\[U_\]' /proc/mdstat; }
idle() { [ "$(cat /sys/block/md0/md/sync_action)" = idle ]; }
array() { mdadm "$@" >>$STORE/mdadm.log 2>&1 || { tail -n 5 $STORE/mdadm.log; fail "mdadm $* failed"; }; }

# --- hosts ---------------------------------------------------------------------------------------------------------------
# A namespace each, behind a bridge that this guest is at, too.
mkdir -p /var/lib/keymoult /run/netns
# A daemon on a host has mounts of its own, too: without this it would keep what is mounted now after it is unmounted here.
mount --make-rshared /
ln -sfn /run /var/run
modprobe -a veth bridge
ip link add lan type bridge
ip address add 10.77.0.254/24 dev lan
ip link set lan up
host() {
    ip netns add "$1"
    ip link add "port-$1" type veth peer name lan netns "$1"
    ip link set "port-$1" master lan up
    ip -n "$1" address add "${ADDRESS[$1]}/24" dev lan
    ip -n "$1" link set lo up
    ip -n "$1" link set lan up
}
configure() {
    {
        printf 'nbd = ["tcp:%s:10809"]\ninsecure = true\n' "${ADDRESS[$1]}"
        printf 'control = "unix:%s/%s.ctl"\nstate-dir = "%s/%s.state"\nkek = ["file:%s/%s.kek"]\n' $STORE "$1" $STORE "$1" $STORE "$1"
        printf '[[volume]]\nname = "disk"\npath = "%s/%s.km"\nreplicated = true\n' $STORE "$1"
        sed "s|/etc/keymoult/peers|$STORE/ca/$1|" "$STORE/ca/$1/peers.toml"
    } >"$STORE/$1.toml"
}
# node NAME: its daemon, on its host; returns when it serves.
node() {
    ip netns exec "$1" keymoult serve --config "$STORE/$1.toml" >>"$STORE/$1.log" 2>&1 &
    DAEMON[$1]=$!
    eventually 60 control "$1" status
}
reach() { connect "$1" "${ADDRESS[$2]}" 10809 "/dev/$1" -N disk -b 4096 -t $TIMEOUT; }
said() { local node=$1; shift; control "$node" "$@" 2>>"$STORE/$node.log"; }
step_is() { said "$1" peer status disk --json | grep -q "\"step\":\"$2\""; }
waits_for_b() { said a peer status disk --json | grep -q '"member":"b","what"'; }
key_is() { said "$1" key list disk --json | grep -q "\"generation\":$2,[^{]*\"state\":\"$3\""; }

for name in a b; do host $name; done
keymoult peer init-ca --cluster lab --node a=${ADDRESS[a]}:7010 --node b=${ADDRESS[b]}:7010 --into $STORE/ca >/dev/null
for name in a b; do configure $name; done
keymoult volume create $STORE/a.km --size 48MiB --kek file:$STORE/a.kek --new-kek >/dev/null
node a
said a peer invite disk --node b --into $STORE/invite >/dev/null
keymoult volume create $STORE/b.km --replica-of $STORE/invite --peers $STORE/b.toml --kek file:$STORE/b.kek --new-kek >/dev/null
node b
note "two hosts, one volume"

# --- the array -----------------------------------------------------------------------------------------------------------
reach nbd0 a
reach nbd1 b
array --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --assume-clean /dev/nbd0 /dev/nbd1
mkfs.ext4 -q -b 4096 /dev/md0
mount /dev/md0 /mnt
plant /mnt/planted
for ((round = 0; round < ROUNDS; round++)); do
    old=$((round + 1))
    client_on /mnt/file 4 & CLIENT=$!
    said a rotate start disk --rate 1MiB --fixed --reason "round $round" >/dev/null
    eventually 60 step_is b active
    alive $CLIENT || fail "the client was done before the rotation began"
    note "both write under generation $((old + 1))"
    kill_daemon b
    killed=$SECONDS
    eventually 60 degraded
    note "degraded $((SECONDS - killed)) s after the kill"
    array /dev/md0 --remove /dev/nbd1
    detach nbd1
    eventually 60 waits_for_b
    node b
    reach nbd1 b
    echo 100000 >/sys/block/md0/md/sync_speed_min
    array /dev/md0 --re-add /dev/nbd1
    eventually 400 in_sync
    note "both legs in step"
    enough $CLIENT
    step_is a finalized || said a rotate pace disk --rate unlimited >/dev/null
    for name in a b; do eventually 300 step_is $name finalized; done
    note "finalized on both"
    said a key retire disk $old >/dev/null
    said a key schedule disk $old --now --i-know-this-cannot-be-undone --reason test >/dev/null
    said a key destroy disk $old --reason test >/dev/null
    for name in a b; do eventually 60 key_is $name $old destroyed; done
    note "generation $old destroyed on both"
done
umount /mnt
echo check >/sys/block/md0/md/sync_action
eventually 300 idle
is "$(cat /sys/block/md0/md/mismatch_cnt)" 0 "sectors in which the legs differ"
note "compared"
intact ext4 /dev/md0
array --stop /dev/md0
detach nbd0
detach nbd1
for name in a b; do
    kill -TERM "${DAEMON[$name]}"
    wait "${DAEMON[$name]}" || fail "the daemon of $name left with status $?"
    keymoult volume check $STORE/$name.km --kek file:$STORE/$name.kek --full >$STORE/check.log 2>&1 || { tail -n 20 $STORE/check.log; fail "the replica of $name does not hold"; }
done
