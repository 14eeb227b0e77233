# unix socket, two connections: ext4 is made, filled, verified by fio while the key changes, and found clean
create v 192MiB
serve v
attach nbd0 v -C 2
is "$(queues nbd0)" 2 "hardware queues"
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
note "made and filled"
for ((round = 0; round < ROUNDS; round++)); do
    client /mnt/file 16 & CLIENT=$!
    begin_rotation v $CLIENT 16MiB
    client_ends $CLIENT
    note "written and verified"
    end_rotation v
done
note "rewritten in the last rotation: $(rotation v bytes_rewritten) bytes"
umount /mnt
intact ext4 /dev/nbd0
detach nbd0
stop v
