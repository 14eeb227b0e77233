"""Common head of the nbdsh scripts: connect, and a model of what the volume must hold."""
import errno
import random
import sys

import nbd

URI = sys.argv[1]
random.seed(20)


def connect(*contexts):
    handle = nbd.NBD()
    for context in contexts:
        handle.add_meta_context(context)
    handle.connect_uri(URI)
    return handle


def refused(call, *args):
    """The errno with which libnbd or the server refuses a call; fails if it does not."""
    try:
        call(*args)
    except nbd.Error as error:
        return error.errnum
    raise AssertionError("%r %r was not refused" % (call, args))


def same(found, wanted, what):
    if bytes(found) != bytes(wanted):
        at = next(i for i in range(len(wanted)) if found[i] != wanted[i])
        raise AssertionError("%s: first difference at byte %d" % (what, at))


h = connect()
size = h.get_size()
