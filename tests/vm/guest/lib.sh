# What the scenarios share: volumes with daemons of their own, kernel devices on them, a verifying client, file systems.
# A volume NAME has its backing, sockets and log under $STORE, on tmpfs: what a killed daemon wrote is still there.

STORE=/run/store
TIMEOUT=20 # seconds after which the kernel gives a request up; a busy machine may stall this long
declare -A DAEMON
mkdir -p $STORE

fail() { echo "$*" >&2; exit 1; }
note() { printf '%3d s  %s\n' $SECONDS "$*"; }

# eventually SECONDS COMMAND…: calls it until it succeeds.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "this did not come true in time: $*"
        sleep 0.2
    done
}
is() { [ "$1" = "$2" ] || fail "$3: $1, not $2"; }

# --- daemons -------------------------------------------------------------------------------------------------------------
create() { keymoult volume create "$STORE/$1.km" --size "$2" --kek "file:$STORE/kek" --new-kek >/dev/null; }
control() { local name=$1; shift; keymoult --control "unix:$STORE/$name.ctl" "$@"; }
rotate() { local name=$1 verb=$2; shift 2; control "$name" rotate "$verb" "$name" "$@" 2>>"$STORE/$name.log"; }

# serve NAME [OPTION…]: returns when it serves.
serve() {
    local name=$1
    shift
    keymoult serve "$STORE/$name.km" --kek "file:$STORE/kek" --nbd "unix:$STORE/$name.nbd" "$@" \
        --control "unix:$STORE/$name.ctl" --state-dir "$STORE/$name.state" >>"$STORE/$name.log" 2>&1 &
    DAEMON[$name]=$!
    eventually 30 control "$name" status
}
kill_daemon() {
    kill -KILL "${DAEMON[$1]}"
    wait "${DAEMON[$1]}" 2>/dev/null || true
    rm -f "$STORE/$1.ctl"
}
# Leaves in peace, and what is on disk holds against everything else.
stop() {
    kill -TERM "${DAEMON[$1]}"
    wait "${DAEMON[$1]}" || fail "the daemon of $1 left with status $?"
    keymoult volume check "$STORE/$1.km" --kek "file:$STORE/kek" --full >"$STORE/check.log" 2>&1 || { tail -n 20 "$STORE/check.log"; fail "volume $1 does not hold"; }
}

# --- kernel devices ------------------------------------------------------------------------------------------------------
# attach DEVICE NAME [nbd-client's options]
attach() { local device=$1 name=$2; shift 2; connect "$device" -unix "$STORE/$name.nbd" "/dev/$device" -N "$name" -b 4096 -t $TIMEOUT "$@"; }
connect() {
    local device=$1
    shift
    nbd-client "$@" >>"$STORE/nbd-client.log" 2>&1 || fail "nbd-client $* failed"
    eventually 10 attached "$device"
}
attached() { [ -e "/sys/block/$1/pid" ] && [ "$(cat "/sys/block/$1/size")" != 0 ]; }
detach() { nbd-client -d "/dev/$1" >>"$STORE/nbd-client.log" 2>&1 || true; eventually 30 detached "$1"; }
detached() { ! [ -e "/sys/block/$1/pid" ]; }
queues() { find "/sys/block/$1/mq" -mindepth 1 -maxdepth 1 | wc -l; }
queue() { cat "/sys/block/$1/queue/$2"; }

# --- clients -------------------------------------------------------------------------------------------------------------
# client FILE MIB [fio's options]: random writes with a CRC in every block, each read back soon after, all of them at the end.
client() {
    local file=$1 mib=$2
    shift 2
    fio --name=client "--filename=$file" "--size=${mib}M" --rw=randwrite --bs=16k --ioengine=libaio --iodepth=8 --direct=1 \
        --fallocate=none --verify=crc32c --verify_fatal=1 --verify_state_save=0 --verify_backlog=256 --random_generator=lfsr \
        --output-format=terse "$@" >>"$STORE/fio.log" 2>&1
}
# The same again and again, until `enough` says so.
client_on() {
    rm -f $STORE/enough
    until [ -e $STORE/enough ]; do client "$@" || return 1; done
}
enough() {
    alive "$1" || fail "the client did not last"
    touch $STORE/enough
    client_ends "$1"
}
# client_ends PID: its own exit status counts.
client_ends() { wait "$1" || { tail -n 5 $STORE/fio.log; fail "the client failed, status $?"; }; }
gone() { ! alive "$1"; }
alive() { kill -0 "$1" 2>/dev/null; }

# begin_rotation NAME CLIENT RATE: a rotation that provably runs beside the client.
begin_rotation() {
    rotate "$1" start --rate "$3" --fixed >/dev/null
    alive "$2" || fail "the client was done before the rotation began"
    [ "$(rotation "$1" state)" = running ] || fail "the rotation of $1 was over at once"
}
end_rotation() {
    rotate "$1" wait --timeout 120 >/dev/null || fail "the rotation of $1 did not end"
    is "$(rotation "$1" state)" finalized "rotation of $1"
}
# rotate_beside_client NAME: the key changes while a client of /mnt/file writes and verifies, as often as there are rounds.
rotate_beside_client() {
    local round
    for ((round = 0; round < ROUNDS; round++)); do
        client /mnt/file 16 & CLIENT=$!
        begin_rotation "$1" $CLIENT 16MiB
        client_ends $CLIENT
        end_rotation "$1"
    done
    note "rewritten in the last rotation: $(rotation "$1" bytes_rewritten) bytes"
}
rotation() { rotate "$1" status --json | sed -n "s/.*\"$2\":\"\{0,1\}\([a-z0-9.]*\).*/\1/p"; }
moved() { [ "$(rotation "$1" extents_done)" -ge "$2" ]; }

# Files of many sizes, and that they are still what they were.
plant() {
    local index
    mkdir -p "$1"
    for index in 1 2 3 4 5 6 7 8 9 10 11 12; do head -c $((index * index * 7919)) /dev/urandom >"$1/$index"; done
    (cd "$1" && sha256sum [0-9]* >sums)
    sync -f "$1/sums"
}
planted() { (cd "$1" && sha256sum -c sums) >>"$STORE/sums.log" 2>&1 || fail "a planted file has changed"; }
forget_cache() { echo 3 >/proc/sys/vm/drop_caches; }
check_ext4() { e2fsck -fn "$1" >"$STORE/fsck.log" 2>&1 || { tail -n 20 "$STORE/fsck.log"; fail "e2fsck of $1 finds faults"; }; }
check_xfs() { xfs_repair -n "$1" >"$STORE/fsck.log" 2>&1 || { tail -n 20 "$STORE/fsck.log"; fail "xfs_repair of $1 finds faults"; }; }
# intact FS DEVICE, which is not mounted: its checker finds nothing, and the device itself gives the planted files back.
intact() {
    "check_$1" "$2"
    forget_cache
    mount "$2" /mnt
    planted /mnt/planted
    umount /mnt
}
