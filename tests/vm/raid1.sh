# md RAID1 on two volumes of two daemons: both keys change, one daemon is killed, its leg is added again, both legs agree
TIMEOUT=4
in_sync() { grep -q '\[UU\]' /proc/mdstat; }
degraded() { grep -q '\[U_\]' /proc/mdstat; }
idle() { [ "$(cat /sys/block/md0/md/sync_action)" = idle ]; }
array() { mdadm "$@" >>$STORE/mdadm.log 2>&1 || { tail -n 5 $STORE/mdadm.log; fail "mdadm $* failed"; }; }
for leg in a b; do create $leg 48MiB; serve $leg; done
attach nbd0 a
attach nbd1 b
array --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --bitmap=internal --assume-clean /dev/nbd0 /dev/nbd1
mkfs.ext4 -q -b 4096 /dev/md0
mount /dev/md0 /mnt
plant /mnt/planted
for ((round = 0; round < ROUNDS; round++)); do
    client_on /mnt/file 4 & CLIENT=$!
    for leg in a b; do begin_rotation $leg $CLIENT 2MiB; done
    eventually 60 moved b 10
    kill_daemon b
    killed=$SECONDS
    eventually 60 degraded
    note "degraded $((SECONDS - killed)) s after the kill"
    # The failed leg first leaves the array, which keeps the dead device open.
    array /dev/md0 --remove /dev/nbd1
    detach nbd1
    serve b
    attach nbd1 b
    array /dev/md0 --re-add /dev/nbd1
    eventually 120 in_sync
    note "both legs in step"
    enough $CLIENT
    for leg in a b; do rotate $leg pace --rate unlimited >/dev/null; end_rotation $leg; done
done
umount /mnt
echo check >/sys/block/md0/md/sync_action
eventually 120 idle
note "compared"
is "$(cat /sys/block/md0/md/mismatch_cnt)" 0 "sectors in which the legs differ"
intact ext4 /dev/md0
array --stop /dev/md0
detach nbd0
detach nbd1
stop a
stop b
