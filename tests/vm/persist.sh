# nbd-client -nonetlink -persist attaches again by itself after SIGKILL; requests on the way fail, what was written is there
TIMEOUT=4
create v 64MiB
serve v
head -c 8388608 /dev/urandom >/run/wanted
connect nbd0 -nonetlink -persist -unix $STORE/v.nbd /dev/nbd0 -N v -b 4096 -t $TIMEOUT
dd if=/run/wanted of=/dev/nbd0 bs=64k oflag=direct 2>/dev/null
for ((round = 0; round < ROUNDS; round++)); do
    kill_daemon v
    killed=$SECONDS
    ! dd if=/dev/nbd0 of=/dev/null bs=64k iflag=direct 2>/dev/null || fail "reads work without a daemon"
    note "a read failed after $((SECONDS - killed)) s"
    sleep 1
    serve v
    back=$SECONDS
    eventually 30 dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct
    note "attached again $((SECONDS - back)) s after the daemon was back"
    dd if=/dev/nbd0 bs=64k count=128 iflag=direct 2>/dev/null | cmp - /run/wanted
done
detach nbd0
stop v
