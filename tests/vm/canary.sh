# a harness that cannot fail proves nothing: noise in the backing must be noticed by fio, by the checksums and by e2fsck
create v 32MiB
serve v
attach nbd0 v
mkfs.ext4 -q -b 4096 /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
client /mnt/file 4
umount /mnt
detach nbd0
stop v
# The last 30 of 32 MiB of data: whatever they hold decrypts to noise.
size=$(stat -c %s $STORE/v.km)
head -c 31457280 /dev/urandom | dd of=$STORE/v.km bs=1M seek=$((size / 1048576 - 30)) conv=notrunc 2>/dev/null
serve v
attach nbd0 v
! (check_ext4 /dev/nbd0) >/dev/null || fail "e2fsck noticed nothing"
mount -o ro /dev/nbd0 /mnt 2>/dev/null || fail "the kernel does not mount it"
! (client /mnt/file 4 --verify_only=1 --readonly) || fail "fio noticed nothing"
! (planted /mnt/planted) 2>/dev/null || fail "the checksums noticed nothing"
