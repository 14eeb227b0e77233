# discard through fstrim gives the space of deleted files back, spares the others, and a rotation does not fill it again
used() { du -k $STORE/v.km | cut -f1; }
create v 192MiB
serve v
attach nbd0 v -C 2
mkfs.ext4 -q -b 4096 -E nodiscard /dev/nbd0
mount /dev/nbd0 /mnt
plant /mnt/planted
for ((round = 0; round < ROUNDS; round++)); do
    head -c 33554432 /dev/urandom >/mnt/big
    sync
    full=$(used)
    rm /mnt/big
    sync
    note "fstrim: $(fstrim -v /mnt)"
    lean=$(used)
    note "backing: $full KiB before, $lean KiB after"
    [ $((full - lean)) -ge 30000 ] || fail "fstrim gave only $((full - lean)) KiB back"
    rotate v start --rate unlimited --fixed >/dev/null
    end_rotation v
    [ $(($(used) - lean)) -le 2048 ] || fail "the rotation took $(($(used) - lean)) KiB of it again"
done
note "skipped by the rotation: $(rotation v bytes_holes) bytes"
planted /mnt/planted
umount /mnt
check_ext4 /dev/nbd0
detach nbd0
stop v
