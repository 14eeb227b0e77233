# The handshake, option by option: what is offered, listed and described, and the oldest way in.
OURS = ["base:allocation", "x-keymoult:generation"]


def haggle(name=""):
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.set_full_info(True)
    handle.set_export_name(name)
    handle.connect_uri(URI.replace("/vol?", "/%s?" % name))
    return handle


def listed(*queries):
    handle, found = haggle("vol"), []
    for query in queries:
        handle.add_meta_context(query)
    assert handle.opt_list_meta_context(found.append) == len(found)
    handle.opt_abort()
    return sorted(found)


assert listed() == OURS
assert listed("base:") == OURS[:1]
assert listed("x-keymoult:") == OURS[1:]
assert listed("base:", "x-keymoult:generation", "qemu:") == OURS
assert listed("qemu:dirty-bitmap:any") == []

handle = haggle("nothing")
assert refused(handle.opt_info) == errno.ENOENT
assert refused(handle.opt_go) == errno.ENOENT
exports = []
handle.opt_list(lambda name, description: exports.append((name, description)))
assert exports == [("vol", exports[0][1])] and exports[0][1].startswith("keymoult volume "), exports
# Nothing was decided by what failed: the sole export under its empty name, and what it is called.
handle.set_export_name("")
handle.add_meta_context("x-keymoult:")
handle.add_meta_context("x-keymoult:generation")
handle.opt_info()
assert (handle.get_size(), handle.get_canonical_export_name()) == (size, "vol")
assert handle.get_export_description() == exports[0][1]
assert [handle.get_block_size(kind) for kind in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)] == [1, 4096, 32 << 20]
handle.opt_go()
assert handle.can_meta_context("x-keymoult:generation") and not handle.can_meta_context("base:allocation")
h.pwrite(b"the same volume", 0)
same(handle.pread(15, 0), b"the same volume", "by its empty name")

# EXPORT_NAME, with the zeros behind it and without, and without structured replies.
for flags in (0, nbd.HANDSHAKE_FLAG_NO_ZEROES):
    old = nbd.NBD()
    old.set_handshake_flags(flags)
    old.connect_uri(URI)
    assert old.get_protocol() == "newstyle", old.get_protocol()
    assert not old.get_structured_replies_negotiated() and not old.can_df()
    same(old.pread(15, 0), b"the same volume", "by EXPORT_NAME")
plain = nbd.NBD()
plain.set_request_structured_replies(False)
plain.connect_uri(URI)
assert plain.get_protocol() == "newstyle-fixed" and not plain.can_df()
same(plain.pread(15, 0), b"the same volume", "in simple replies")
print("done")
