# what the kernel makes of the volume: block and request sizes, cache, discard, and how many connections it opens
create v 64MiB
serve v
attach nbd0 v -C 2
note "kernel $(uname -r), nbd-client $(nbd-client --version 2>&1 | head -n 1)"
for name in logical_block_size physical_block_size minimum_io_size optimal_io_size max_sectors_kb max_hw_sectors_kb \
    max_segments discard_granularity discard_max_bytes write_zeroes_max_bytes write_cache fua nr_requests rotational; do
    note "$name $(queue nbd0 $name)"
done
is "$(queue nbd0 logical_block_size)" 4096 "logical block size"
is "$(queue nbd0 write_cache)" "write back" "write cache"
is "$(queue nbd0 fua)" 1 "FUA"
is "$(queues nbd0)" 2 "hardware queues"
[ "$(queue nbd0 discard_max_bytes)" -gt 0 ] || fail "no discard"

# Requests as large as the kernel makes them, and a flush behind each.
head -c 8388608 /dev/urandom >/run/wanted
queue nbd0 max_hw_sectors_kb >/sys/block/nbd0/queue/max_sectors_kb
dd if=/run/wanted of=/dev/nbd0 bs=8M oflag=direct conv=fsync 2>/dev/null
forget_cache
dd if=/dev/nbd0 bs=8M count=1 iflag=direct 2>/dev/null | cmp - /run/wanted
note "requests of $(queue nbd0 max_sectors_kb) KiB"
detach nbd0

# 512-byte blocks over 4096-byte data units: the daemon merges.
connect nbd0 -unix $STORE/v.nbd /dev/nbd0 -N v -b 512 -t $TIMEOUT
is "$(queue nbd0 logical_block_size)" 512 "logical block size"
printf 'a sector' | dd of=/run/wanted bs=1 seek=5120 conv=notrunc 2>/dev/null
dd if=/run/wanted of=/dev/nbd0 bs=512 skip=10 seek=10 count=1 oflag=direct conv=fsync 2>/dev/null
dd if=/dev/nbd0 bs=8M count=1 iflag=direct 2>/dev/null | cmp - /run/wanted
detach nbd0
stop v
