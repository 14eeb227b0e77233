# unix socket, two connections: ext4 is made, filled, verified by fio while the key changes, and found clean
create v 192MiB
serve v
attach nbd0 v -C 2
is "$(queues nbd0)" 2 "hardware queues"
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
note "made and filled"
rotate_beside_client v
umount /mnt
intact ext4 /dev/nbd0
detach nbd0
stop v
