"""What a client feels of a rotation: measured in interleaved rounds, and the figures that stand for all rounds.

A round is a client without a rotation, then beside an adaptive, a paced and an unpaced one, so that what is compared was
measured within a minute. Rotations follow each other without a gap until the client is done.
"""

import statistics
import tempfile
import threading
import time

from . import api, fio
from .peers import Keymoult, fill
from .process import say

CLIENTS = ["client-randrw-4k", "client-write-128k"]
PACED = 256 << 20
# What p99 may be of what it is without a rotation: the target's own figure.
FACTOR = 1.5
# How rotations are paced: label, bytes per second, adaptive. None: no rotation.
WAYS = [("no rotation", None), ("adaptive", (None, True)), ("paced", (PACED, False)), ("unpaced", (None, False))]


def measure(folder, size, seconds, rounds):
    """{job: {way: [figures of each round]}}.

    Each on a volume of its own: rotations follow each other, and a generation table holds so many and no more.
    """
    results = {job: {label: [] for label, _ in WAYS} for job in CLIENTS}
    for turn in range(rounds):
        for job in CLIENTS:
            for label, way in WAYS:
                with tempfile.TemporaryDirectory(dir=folder) as own:
                    peer = Keymoult(own, size, None)
                    fill(peer)
                    with peer:
                        figures = _with_rotation(peer, job, seconds, *way) if way else _client(peer, job, seconds)
                    results[job][label].append(dict(figures, volume_bytes=size))
        say("  a client beside a rotation: round %d of %d done" % (turn + 1, rounds))
    return results


def _client(peer, job, seconds):
    return fio.measure(job, fio.target_of_socket(peer.socket, peer.export), peer.size, seconds)


def _with_rotation(peer, job, seconds, bytes_per_s, adaptive):
    """The client beside rotations, and what these moved meanwhile."""
    done, moved, failures = threading.Event(), [], []

    def rotate():
        try:
            while not done.is_set():
                moved.append(_until_settled(peer, bytes_per_s, adaptive, done))
        except (RuntimeError, OSError) as error:
            failures.append(error)

    begun = time.monotonic()
    worker = threading.Thread(target=rotate)
    worker.start()
    try:
        figures = _client(peer, job, seconds)
    finally:
        figures_seconds = time.monotonic() - begun
        done.set()
        worker.join()
    if failures:
        raise failures[0]
    api.wait(peer.control, peer.export)
    figures["rotation_bytes_per_s"] = sum(now["bytes_rewritten"] for now in moved) / figures_seconds
    figures["held_bytes"] = max(held(now) for now in moved)
    return figures


def held(rotation):
    """The most a rotation holds at a time: one batch is held while the one before it is written. Batches are of one size."""
    return 2 * rotation["bytes_rewritten"] / max(rotation["batches"], 1)


def _until_settled(peer, bytes_per_s, adaptive, done):
    """What one rotation says of itself when it settles or `done` is set; then it is let run out unpaced."""
    api.start(peer.control, peer.export, "off", bytes_per_s, adaptive, FACTOR)
    while True:
        now = api.rotation(peer.control, peer.export)
        if now["state"] in api.SETTLED:
            return now
        if done.is_set():
            api.call(peer.control, "POST", "/volumes/%s/rotation/pace" % peer.export,
                     {"pace": {"adaptive": False, "factor": FACTOR}})
            return now
        time.sleep(0.05)


def rounds(way):
    """The rounds of a way; older runs measured once and kept bare figures."""
    return way if isinstance(way, list) else [way]


def middle(way):
    """One set of figures for all rounds: the median of each, the slowest request of all."""
    found = rounds(way)
    figures = {key: statistics.median(f[key] for f in found) for key, value in found[0].items()
               if isinstance(value, (int, float)) and all(key in f for f in found)}
    figures["latency_us_max"] = max(f["latency_us_max"] for f in found)
    listed = [dict(map(tuple, f.get("latency_us_percentiles", []))) for f in found]
    figures["latency_us_percentiles"] = [[mark, statistics.median(points[mark] for points in listed)] for mark in listed[0]]
    return figures
