"""Whether the rate stays the same as volumes, live generations and connections grow.

The same small workload runs over the first part of sparse volumes; nothing else of them was ever written. Generations
stay live because each rotation moves one slice of that part and is held before the next one starts. All volumes stand
side by side and are measured in turn, so that ratios are of measurements close in time.
"""

import math
import os
import statistics
import time

from . import api, crowd, fio
from .process import say
from .rotation import census
from .vast import Vast

# GiB and live generations: each axis by itself, and the corner where both end.
VOLUMES = [(1, 1), (4, 1), (16, 1), (64, 1), (1, 4), (1, 16), (64, 16)]
CONNECTIONS = [1, 8, 64]
CELLS = ["randread-4k", "randwrite-4k"]
AXES = {"gib": "GiB", "generations": "live generations", "connections": "connections"}
PACE = 256 << 20
PATIENCE_SECONDS = 60


def measure(folder, filled, seconds, rounds):
    """{case in words: {"gib", "generations", "connections", "cell", "rounds": [figures]}}; `filled` bytes of each are in use."""
    volumes = [_prepared(folder, gib, live, filled) for gib, live in VOLUMES]
    cases = [{"gib": gib, "generations": live, "connections": number, "cell": cell, "live": counted, "rounds": []}
             for gib, live, counted, _ in volumes for number in CONNECTIONS for cell in CELLS]
    peers = {(gib, live): peer for gib, live, _, peer in volumes}
    for turn in range(rounds):
        for case in cases if turn % 2 == 0 else reversed(cases):
            peer = peers[case["gib"], case["generations"]]
            with peer:
                case["rounds"].append(crowd.measure(peer, case["cell"], filled, seconds, case["connections"]))
        say("  growth: round %d of %d done" % (turn + 1, rounds))
    return {"%(gib)d GiB, %(generations)d generations, %(connections)d connections, %(cell)s" % case: case for case in cases}


def along(cases, axis, cell):
    """The rate at the axis' far end ÷ at its near one, round by round: the geometric mean over all that is equal otherwise."""
    mine = [case for case in cases.values() if case["cell"] == cell]
    near, far = min(case[axis] for case in mine), max(case[axis] for case in mine)
    others = [key for key in AXES if key != axis]
    ends = {end: {tuple(case[key] for key in others): case["rounds"] for case in mine if case[axis] == end} for end in (near, far)}
    pairs = [(ends[near][rest], ends[far][rest]) for rest in ends[near] if rest in ends[far]]
    each = [[math.log(b["iops"] / a["iops"]) for a, b in zip(*pair)] for pair in pairs]
    return near, far, [math.exp(statistics.mean(turn)) for turn in zip(*each)]


def _prepared(folder, gib, live, filled):
    own = os.path.join(folder, "%d-%d" % (gib, live))
    os.makedirs(own)
    peer = Vast(own, gib << 30, False)
    with peer:
        fio.measure("fill", fio.target_of_socket(peer.socket, peer.export), filled)
        for number in range(1, live):
            _one_more(peer, number, live, filled)
        counted = len(census(peer))
    if counted < live:
        raise RuntimeError("%d generations are live on %d GiB, not %d" % (counted, gib, live))
    return gib, live, counted, peer


def _one_more(peer, number, live, filled):
    """Rotates slice `number` of `live`, then the unused tail, until the slice is done; holds the rotation there."""
    extent = api.status(peer.control, peer.export)["extent_bytes"]
    share = filled // live & ~(extent - 1)
    ranges = [{"first": number * share, "end": (number + 1) * share}, {"first": filled, "end": peer.size}]
    api.call(peer.control, "POST", "/volumes/%s/rotation/start" % peer.export, {
        "pace": {"adaptive": False, "factor": 2.0, "bytes_per_s": PACE}, "verify": "off",
        "order": {"kind": "ranges", "ranges": ranges}})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = api.rotation(peer.control, peer.export)
        if now["extents_done"] * extent >= share:
            break
        if now["state"] != "running" or time.monotonic() > deadline:
            raise RuntimeError("a rotation that was to be held is %s" % now["state"])
        time.sleep(0.002)
    api.call(peer.control, "POST", "/volumes/%s/rotation/pause" % peer.export, {})
