# SIGKILL, then a stall, under fio and a rotation: the kernel gets new sockets by netlink and no request fails
TIMEOUT=4
reconfigure() { python3 -I -S /job/reconfigure.py "$@"; }
create v 192MiB
serve v
attach nbd0 v -C 2
reconfigure 0 --patience 100
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
for ((round = 0; round < ROUNDS; round++)); do
    client_on /mnt/file 4 & CLIENT=$!
    begin_rotation v $CLIENT 6MiB
    eventually 60 moved v 20
    kill_daemon v
    killed=$SECONDS
    sleep 1
    serve v
    reconfigure 0 --sockets 2 $STORE/v.nbd v
    note "killed, new sockets after $((SECONDS - killed)) s"

    # A daemon that does not answer: the kernel drops both sockets and sends everything again on the next ones, while
    # what it had sent before is still in the daemon's hands.
    eventually 60 moved v 50
    kill -STOP "${DAEMON[v]}"
    sleep $((2 * TIMEOUT + 1))
    kill -CONT "${DAEMON[v]}"
    reconfigure 0 --sockets 2 $STORE/v.nbd v
    note "stalled for $((2 * TIMEOUT + 1)) s, new sockets"

    rotate v pace --rate unlimited >/dev/null
    enough $CLIENT
    end_rotation v
done
umount /mnt
intact ext4 /dev/nbd0
detach nbd0
stop v
