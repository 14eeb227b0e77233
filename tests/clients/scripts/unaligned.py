# Reads and writes at any offset and length against a model in memory; neighbours must survive.
model = bytearray(size)
base = random.randbytes(size)
for at in range(0, size, 1 << 20):
    h.pwrite(base[at:at + (1 << 20)], at)
model[:] = base
edges = [0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537]
for first in edges:
    for length in (1, 2, 511, 512, 4095, 4096, 4097, 9000):
        data = random.randbytes(length)
        h.pwrite(data, first)
        model[first:first + length] = data
for _ in range(200):
    length = random.choice((1, 17, 512, 3000, 4096, 20000, 100000))
    first = random.randrange(size - length)
    data = random.randbytes(length)
    h.pwrite(data, first)
    model[first:first + length] = data
    same(h.pread(length, first), data, "just written at %d" % first)
for first in edges:
    same(h.pread(5000, first), model[first:first + 5000], "read at %d" % first)
for at in range(0, size, 1 << 20):
    same(h.pread(1 << 20, at), model[at:at + (1 << 20)], "whole volume at %d" % at)

# Sub-sector writes of two connections in one sector, in flight together: none may be lost.
other = connect()
for round in range(50):
    a, b = random.randbytes(100), random.randbytes(100)
    first = nbd.Buffer.from_bytearray(bytearray(a))
    second = nbd.Buffer.from_bytearray(bytearray(b))
    one, two = h.aio_pwrite(first, 8192 + 10), other.aio_pwrite(second, 8192 + 200)
    while not h.aio_command_completed(one):
        h.poll(-1)
    while not other.aio_command_completed(two):
        other.poll(-1)
    same(h.pread(100, 8192 + 10), a, "first writer")
    same(h.pread(100, 8192 + 200), b, "second writer")
print("done")
