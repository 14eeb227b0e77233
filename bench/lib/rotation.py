"""What a rotation costs: its speed, its writes and flushes, and what a client feels beside it.

Every rotation here moves a volume that is full of random data, and the census is taken from outside, with nbdinfo,
before (all old) and after (all new): a rotation that skipped something would not count.
"""

import json
import tempfile
import threading
import time

from . import api, fio
from .peers import Keymoult, fill
from .process import run, say
from .trace import DeviceCounters, SyncTrace

CLIENTS = ["client-randrw-4k", "client-write-128k"]
PACED = 256 << 20


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


# How the rotations beside a client are paced: label, bytes per second, adaptive. None: no rotation.
WAYS = [("no rotation", None), ("adaptive", (None, True)), ("paced", (PACED, False)), ("unpaced", (None, False))]


def beside_client(folder, size, seconds):
    """A client's throughput and latency: without a rotation, with an adaptive, a paced and an unpaced one.

    Each on a volume of its own: rotations follow each other, and a generation table holds so many and no more.
    """
    results = {}
    for job in CLIENTS:
        results[job] = {}
        for label, way in WAYS:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                peer = Keymoult(own, size, None)
                fill(peer)
                with peer:
                    figures = _with_rotation(peer, job, seconds, *way) if way else _client(peer, job, seconds)
                results[job][label] = figures
        say("  %s done" % job)
    return results


def _client(peer, job, seconds):
    return fio.measure(job, fio.target_of_socket(peer.socket, peer.export), peer.size, seconds)


def _with_rotation(peer, job, seconds, bytes_per_s, adaptive):
    """The client beside rotations that follow each other without a gap until it is done."""
    done, moved, failures = threading.Event(), [], []

    def rotate():
        try:
            while not done.is_set():
                moved.append(_bytes_until_settled(peer, bytes_per_s, adaptive, done))
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
    figures["rotation_bytes_per_s"] = sum(moved) / figures_seconds
    return figures


def _bytes_until_settled(peer, bytes_per_s, adaptive, done):
    """Bytes one rotation moves until it settles or `done` is set; then it is let run out unpaced."""
    api.start(peer.control, peer.export, "off", bytes_per_s, adaptive)
    while True:
        now = api.rotation(peer.control, peer.export)
        if now["state"] in api.SETTLED:
            return now["bytes_rewritten"]
        if done.is_set():
            moved = now["bytes_rewritten"]
            api.call(peer.control, "POST", "/volumes/%s/rotation/pace" % peer.export,
                     {"pace": {"adaptive": False, "factor": 2.0}})
            return moved
        time.sleep(0.05)
