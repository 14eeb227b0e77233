"""Flushes of a rotation beside a client that flushes after each write: how many more than the client asked for.

On a disk only: in memory a flush means nothing. Syncs are counted where ext4 receives them. The client alone tells how
many one of its flushes costs; what is above that beside a rotation is the rotation's, and is given for each batch.
"""

import threading
import time

from . import api, crowd
from .peers import Keymoult, fill
from .trace import SyncTrace

PACE = 128 << 20


def measure(folder, size, seconds):
    """{"client alone" | "rotation alone" | "client beside a rotation": figures}."""
    peer = Keymoult(folder, size, True)
    fill(peer)
    with peer:
        return {
            "client alone": _traced(peer, lambda: _client(peer, seconds)),
            "rotation alone": _beside_rotations(peer, lambda: time.sleep(seconds)),
            "client beside a rotation": _beside_rotations(peer, lambda: _client(peer, seconds)),
        }


def extra_per_batch(results):
    """Syncs beside the rotation that the client's own flushes do not explain, per batch; None if syncs were not traced."""
    alone, both = results["client alone"], results["client beside a rotation"]
    if not alone["syncs"] or not alone["client_flushes"] or not both["batches"]:
        return None
    expected = both["client_flushes"] * alone["syncs"] / alone["client_flushes"]
    return (both["syncs"] - expected) / both["batches"]


def _traced(peer, work):
    with SyncTrace(peer.file) as syncs:
        figures = work() or {}
    return {**figures, "syncs": syncs.count}


def _client(peer, seconds):
    figures = crowd.measure(peer, "randwrite-4k", peer.size, seconds, 1, "--iodepth=4", "--fsync=1")
    return {"client_writes": figures["requests"], "client_flushes": figures["flushes"], "client_iops": figures["iops"]}


def _beside_rotations(peer, work):
    """`work` beside paced rotations, one after the other. What the last one does after `work` is not counted."""
    done, failures = threading.Event(), []
    total = {"batches": 0, "rotation_flushes": 0, "bytes_rewritten": 0}

    def rotate():
        try:
            while not done.is_set():
                _add(total, _until(peer, done))
            _run_out(peer)
        except (RuntimeError, OSError) as error:
            failures.append(error)

    worker = threading.Thread(target=rotate)
    worker.start()
    try:
        figures = _traced(peer, work)
    finally:
        done.set()
        worker.join()
    if failures:
        raise failures[0]
    return {**figures, **total}


def _until(peer, done):
    """Starts a rotation; what it did until it settled or `done` was set."""
    api.start(peer.control, peer.export, "off", PACE)
    while True:
        now = api.rotation(peer.control, peer.export)
        if now["state"] in api.SETTLED or done.is_set():
            return now
        time.sleep(0.02)


def _run_out(peer):
    api.call(peer.control, "POST", "/volumes/%s/rotation/pace" % peer.export, {"pace": {"adaptive": False, "factor": 2.0}})
    api.wait(peer.control, peer.export)


def _add(total, rotation):
    total["batches"] += rotation["batches"]
    total["rotation_flushes"] += rotation["flushes"]
    total["bytes_rewritten"] += rotation["bytes_rewritten"]
