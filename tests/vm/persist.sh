# nbd-client -nonetlink -persist and SIGKILL: the device is empty until something attaches again, then all data are there
TIMEOUT=4
attach_persistently() {
    nbd-client -nonetlink -persist -nofork -unix $STORE/v.nbd /dev/nbd0 -N v -b 4096 -t $TIMEOUT >>$STORE/nbd-client.log 2>&1 &
    PERSISTENT=$!
    eventually 10 attached nbd0
}
# By itself, as -persist promises, or because it is started again: which of them is up to kernel and nbd-client.
back_or_gone() { attached nbd0 || gone $PERSISTENT; }
create v 64MiB
serve v
attach_persistently
head -c 4194304 /dev/urandom >/run/wanted
dd if=/run/wanted of=/dev/nbd0 bs=64k oflag=direct 2>/dev/null
for ((round = 0; round < ROUNDS; round++)); do
    kill_daemon v
    killed=$SECONDS
    is "$(dd if=/dev/nbd0 bs=64k iflag=direct 2>/dev/null | wc -c)" 0 "bytes read without a daemon"
    note "nothing to read $((SECONDS - killed)) s after the kill, size $(cat /sys/block/nbd0/size)"
    sleep 2
    serve v
    back=$SECONDS
    eventually 30 back_or_gone
    if alive $PERSISTENT; then
        note "nbd-client attached again $((SECONDS - back)) s after the daemon was back"
    else
        note "nbd-client had given up: $(tail -n 2 $STORE/nbd-client.log | paste -sd' ')"
        attach_persistently
    fi
    dd if=/dev/nbd0 bs=64k count=64 iflag=direct 2>/dev/null | cmp - /run/wanted
done
detach nbd0
stop v
