# Trim and write-zeroes, aligned and not: zeros inside, neighbours untouched; zeros written by hand read as zeros.
model = bytearray(random.randbytes(size))
for at in range(0, size, 1 << 20):
    h.pwrite(model[at:at + (1 << 20)], at)
ranges = [(0, 4096), (65536, 131072), (300000, 1), (400001, 4095), (500000, 70001), (2 << 20, 1 << 20), (size - 10, 10)]
flags = [0, nbd.CMD_FLAG_NO_HOLE]
for index, (first, length) in enumerate(ranges):
    h.zero(length, first, flags[index % 2])
    model[first:first + length] = bytes(length)
for first, length in [(3 << 20, 1 << 20), ((4 << 20) + 4096, 65536)]:
    h.trim(length, first)
    model[first:first + length] = bytes(length)
h.pwrite(bytes(8192), 5 << 20)
model[5 << 20:(5 << 20) + 8192] = bytes(8192)
for at in range(0, size, 1 << 20):
    same(h.pread(1 << 20, at), model[at:at + (1 << 20)], "after zeroing, at %d" % at)
# An unaligned trim may keep its edges; it must not touch what lies outside.
first, length = (6 << 20) + 100, 10000
h.trim(length, first)
same(h.pread(100, first - 100), model[first - 100:first], "before an unaligned trim")
same(h.pread(100, first + length), model[first + length:first + length + 100], "after an unaligned trim")
# Data on top of a hole.
h.pwrite(b"x" * 777, (3 << 20) + 12345)
same(h.pread(777, (3 << 20) + 12345), b"x" * 777, "written into a hole")
same(h.pread(100, (3 << 20) + 12345 - 100), bytes(100), "the hole before it")
same(h.pread(100, (3 << 20) + 12345 + 777), bytes(100), "the hole behind it")
print("done")
