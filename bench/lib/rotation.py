"""What a rotation of an otherwise idle volume costs: its speed, its writes and flushes.

Every rotation here moves a volume that is full of random data, and the census is taken from outside, with nbdinfo,
before (all old) and after (all new): a rotation that skipped something would not count.
"""

import json
import time

from . import api
from .peers import Keymoult, fill
from .process import run
from .trace import DeviceCounters, SyncTrace


def census(peer):
    """Bytes by generation, as `nbdinfo --map` tells it."""
    uri = "nbd+unix:///%s?socket=%s" % (peer.export, peer.socket)
    entries = json.loads(run(["nbdinfo", "--map=x-keymoult:generation", "--json", uri]))
    totals = {}
    for entry in entries:
        totals[entry["type"]] = totals.get(entry["type"], 0) + entry["length"]
    return totals


def sole_generation(peer, what):
    """The one generation that encrypts everything; raises if there is more than one."""
    totals = census(peer)
    if len(totals) != 1 or sum(totals.values()) != peer.size:
        raise RuntimeError("census %s: %s, not one generation over %d bytes" % (what, totals, peer.size))
    return next(iter(totals))


def alone(folder, size, rounds, verify):
    """Rotations of an otherwise idle volume."""
    peer = Keymoult(folder, size, None)
    fill(peer)
    results = []
    with peer:
        for _ in range(rounds):
            results.append(rotate_once(peer, verify))
    return results


def rotate_once(peer, verify):
    """One rotation of a volume that is being served, and what it cost."""
    old = sole_generation(peer, "before")
    with SyncTrace(peer.file) as syncs, DeviceCounters(peer.file) as device:
        begun = time.monotonic()
        api.start(peer.control, peer.export, verify)
        rotation = api.wait(peer.control, peer.export)
        seconds = time.monotonic() - begun
    new = sole_generation(peer, "after")
    if new == old:
        raise RuntimeError("the rotation left generation %d in place" % old)
    return {
        "seconds": seconds,
        "bytes_per_s": peer.size / seconds,
        "from": old,
        "to": new,
        "bytes_rewritten": rotation["bytes_rewritten"],
        "granule": api.status(peer.control, peer.export).get("granule_bytes"),
        "batches": rotation["batches"],
        "flushes": rotation["flushes"],
        "write_amplification": rotation["write_amplification"],
        "metadata_bytes": rotation["metadata_bytes"],
        "traced_syncs": syncs.count,
        "device_bytes_written": device.bytes_written,
        "device_flushes": device.flushes,
    }
