# Both contexts over one connection: extents tile what was asked, holes are where nothing was written.
h = connect("base:allocation", "x-keymoult:generation")
assert h.can_meta_context("base:allocation") and h.can_meta_context("x-keymoult:generation")
assert h.get_structured_replies_negotiated()
h.pwrite(random.randbytes(1 << 20), 1 << 20)


def status(first, length, flags=0):
    seen = {}

    def extent(context, offset, entries, error):
        assert offset == first, (offset, first)
        seen[context] = list(zip(entries[0::2], entries[1::2]))

    h.block_status(length, first, extent, flags)
    return seen


seen = status(0, size)
assert set(seen) == {"base:allocation", "x-keymoult:generation"}, seen
at, kinds = 0, {}
for length, flags in seen["base:allocation"]:
    assert length > 0
    kinds.setdefault(flags, []).append((at, at + length))
    at += length
assert at <= size
assert (1 << 20, 2 << 20) in kinds[0], kinds
assert all(flags == 1 for _, flags in seen["x-keymoult:generation"]), seen
for first, length in [(0, 512), (1, 1), ((1 << 20) + 5, 100), (size - 1, 1)]:
    one = status(first, length, nbd.CMD_FLAG_REQ_ONE)
    for entries in one.values():
        assert len(entries) == 1 and 0 < entries[0][0] <= length, (first, length, one)
# A structured read in one piece although the range holds a hole.
chunks = []
data = h.pread_structured(3 << 20, 0, lambda part, at, kind, error: chunks.append((at, len(part))), nbd.CMD_FLAG_DF)
assert chunks == [(0, 3 << 20)], chunks
same(data[:1 << 20], bytes(1 << 20), "the hole before the data")
same(data[2 << 20:], bytes(1 << 20), "the hole behind the data")
print("done")
