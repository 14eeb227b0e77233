# TCP, two connections: xfs is made, filled, verified by fio while the key changes, and found clean
create v 320MiB
serve v --nbd tcp:127.0.0.1:10809
connect nbd0 127.0.0.1 10809 /dev/nbd0 -N v -b 4096 -t $TIMEOUT -C 2
mkfs.xfs -q /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
rotate_beside_client v
umount /mnt
intact xfs /dev/nbd0
detach nbd0
stop v
