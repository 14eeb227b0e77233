# Coherence: what one connection has acknowledged every other one reads; a flush on one covers all.
assert h.can_multi_conn()
others = [connect() for _ in range(3)]
for round in range(40):
    writer = random.choice(others)
    first = random.randrange(0, size - 70000)
    data = random.randbytes(random.choice((100, 4096, 65536)))
    writer.pwrite(data, first)
    for reader in [h] + others:
        same(reader.pread(len(data), first), data, "round %d" % round)
    random.choice(others).flush()

# Many requests in flight on all connections, to ranges of their own, then one flush and one reader.
wanted, pending = {}, []
for index in range(64):
    handle = others[index % 3]
    data = random.randbytes(8192)
    wanted[index * 8192] = data
    buffer = nbd.Buffer.from_bytearray(bytearray(data))
    pending.append((handle, handle.aio_pwrite(buffer, index * 8192), buffer))
for handle, cookie, _ in pending:
    while not handle.aio_command_completed(cookie):
        handle.poll(-1)
h.flush()
for first, data in wanted.items():
    same(h.pread(8192, first), data, "written by another connection")
print("done")
