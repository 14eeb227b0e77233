# SIGKILL under fio, attached by nbd-client alone: requests fail in time, and after attaching again ext4 recovers, all data there
TIMEOUT=4
create v 192MiB
serve v
for ((round = 0; round < ROUNDS; round++)); do
    attach nbd0 v -C 2
    [ $round -gt 0 ] || mkfs.ext4 -q -b 4096 /dev/nbd0
    mount /dev/nbd0 /mnt
    plant "/mnt/planted$round"
    (trap - ERR && client /mnt/file 32 --time_based --runtime=600) & CLIENT=$!
    begin_rotation v $CLIENT 4MiB
    eventually 60 moved v 20
    kill_daemon v
    killed=$SECONDS
    eventually $((5 * TIMEOUT)) gone $CLIENT
    ! wait $CLIENT || fail "the client noticed nothing"
    note "the client's requests failed after $((SECONDS - killed)) s"
    umount /mnt
    note "unmounted"
    detach nbd0
    serve v
    attach nbd0 v -C 2
    e2fsck -p /dev/nbd0 >>$STORE/fsck.log 2>&1 || [ $? = 1 ] || fail "e2fsck could not replay the journal"
    check_ext4 /dev/nbd0
    mount /dev/nbd0 /mnt
    for ((earlier = 0; earlier <= round; earlier++)); do planted "/mnt/planted$earlier"; done
    rotate v pace --rate unlimited >/dev/null
    end_rotation v
    note "recovered, rotation done"
    umount /mnt
    detach nbd0
done
stop v
