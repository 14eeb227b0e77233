# Requests the server must refuse, each with its own error, and the connection stays usable.
h.set_strict_mode(0)
assert refused(h.pread, 512, size) == errno.EINVAL
assert refused(h.pread, 512, size - 100) == errno.EINVAL
assert refused(h.pwrite, bytes(512), size) == errno.ENOSPC
assert refused(h.pwrite, bytes(512), size - 100) == errno.ENOSPC
assert refused(h.zero, 512, size) == errno.ENOSPC
assert refused(h.trim, 512, size) == errno.EINVAL
assert refused(h.pread, 512, 1 << 62) == errno.EINVAL
h.pwrite(b"still here", 0)
same(h.pread(10, 0), b"still here", "after the errors")
print("done")
