"""How often a rotation flushes: for each batch, whatever it moves, and beside a client that flushes after each write.

On a disk only: in memory a flush means nothing. Syncs are counted where ext4 receives them.

A rotation syncs a fixed number of times whatever it moves: its table, epoch, stamp and canary. Rotations of two sizes tell
that apart from what a batch costs: more batches cost more syncs, the rest is fixed. Beside the client, which has one write
in flight and so one sync for each flush, a whole rotation runs; what neither the client's flushes nor the fixed part
explain is extra.
"""

import os
import statistics
import threading
import time

from . import api, crowd
from .peers import Keymoult, fill
from .rotation import rotate_once
from .trace import SyncTrace

PARTS_OF_SIZE = {"small": 8, "middle": 2, "large": 1}


def measure(folder, size, seconds):
    """{"sizes": {"small" | "large": [rotation]}, "client alone" | "client beside a rotation": figures}."""
    volumes = {name: _volume(folder, name, size // part) for name, part in PARTS_OF_SIZE.items()}
    sizes = {name: [_alone(volumes[name])] for name in ("small", "large")}
    with volumes["middle"] as peer:
        return {"sizes": sizes, "client alone": _traced(peer, lambda: _client(peer, seconds)),
                "client beside a rotation": _traced(peer, lambda: _beside(peer, seconds))}


def _volume(folder, name, size):
    own = os.path.join(folder, name)
    os.makedirs(own)
    peer = Keymoult(own, size, True)
    fill(peer)
    return peer


def _alone(peer):
    with peer:
        figures = rotate_once(peer, "off")
    return {key: figures[key] for key in ("bytes_rewritten", "batches", "flushes", "traced_syncs", "granule")}


def split(sizes):
    """(syncs for each further batch, syncs of a rotation whatever it moves); None if they were not traced."""
    if any(figures["traced_syncs"] is None for rounds in sizes.values() for figures in rounds):
        return None
    batches, syncs = ([statistics.median(figures[key] for figures in sizes[name]) for name in ("small", "large")]
                      for key in ("batches", "traced_syncs"))
    if batches[0] == batches[1]:
        return None
    each = (syncs[1] - syncs[0]) / (batches[1] - batches[0])
    return each, syncs[1] - each * batches[1]


def extra_per_batch(results):
    """Syncs beside the client that neither its flushes nor the rotation's fixed ones explain, per batch; None if not traced."""
    alone, both, parts = results["client alone"], results["client beside a rotation"], split(results["sizes"])
    if parts is None or not alone["syncs"] or not alone["client_flushes"] or not both["batches"]:
        return None
    expected = both["client_flushes"] * alone["syncs"] / alone["client_flushes"]
    return (both["syncs"] - expected - parts[1]) / both["batches"]


def _traced(peer, work):
    with SyncTrace(peer.file) as syncs:
        figures = work()
    return {**figures, "syncs": syncs.count}


def _client(peer, seconds):
    figures = crowd.measure(peer, "randwrite-4k", peer.size, seconds, 1, "--iodepth=1", "--fsync=1")
    return {"client_writes": figures["requests"], "client_flushes": figures["flushes"], "client_iops": figures["iops"]}


def _beside(peer, seconds):
    """One whole rotation, paced to take about half the client's time; the client goes on until it is over."""
    ran, done = [], threading.Event()

    def work():
        while not done.is_set():
            ran.append(_client(peer, seconds))

    client = threading.Thread(target=work)
    client.start()
    try:
        time.sleep(seconds / 8)
        api.start(peer.control, peer.export, "off", 2 * peer.size // seconds)
        rotation = api.wait(peer.control, peer.export)
    finally:
        done.set()
        client.join()
    total = {key: sum(figures[key] for figures in ran) for key in ("client_writes", "client_flushes")}
    return {**total, "client_iops": statistics.mean(figures["client_iops"] for figures in ran),
            "batches": rotation["batches"], "rotation_flushes": rotation["flushes"], "bytes_rewritten": rotation["bytes_rewritten"]}
