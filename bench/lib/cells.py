"""The four cells, every peer, several rounds interleaved, so that a change of the machine's mood meets all alike."""

import os
import statistics

from . import fio
from .machine import drop_caches
from .peers import fill
from .process import cpu_seconds, say

CELLS = ["read-128k", "write-128k", "randread-4k", "randwrite-4k"]
# Seconds that one pass over a volume on disk may take; a server that is slower is not waited for.
PASS_SECONDS = 12


def measure(backing, folder, peers, cells, size, seconds, rounds):
    """Figures by cell and peer, {cell: {peer: [figures of each round]}}, and the commands that served them, by peer.

    `backing` is `shm` or `disk`.
    """
    disk = backing == "disk"
    ready = [peer(folder, size, disk) for peer in peers if peer.has_backing or not disk]
    for peer in ready:
        fill(peer)
    results = {cell: {peer.name: [] for peer in ready} for cell in cells}
    if disk:
        for cell in cells:
            results[cell]["no server"] = []
    for turn in range(rounds):
        for cell in cells:
            # Every other round backwards: nobody always runs first.
            for peer in ready if turn % 2 == 0 else reversed(ready):
                results[cell][peer.name].append(_one(peer, cell, disk, size, seconds))
            if disk:
                results[cell]["no server"].append(_bare(folder, cell, size, seconds))
        say("  %s: round %d of %d done" % (backing, turn + 1, rounds))
    return results, {peer.name: peer.shown() for peer in ready}


def _times(cell, disk, seconds):
    """On a disk a sequential cell passes over the volume once, so that no page cache serves the second pass."""
    once = disk and not cell.startswith("rand")
    return {"seconds": PASS_SECONDS if once else seconds, "time_based": not once}


def _one(peer, cell, disk, size, seconds):
    if disk:
        drop_caches()
    with peer:
        before = cpu_seconds(peer.child.pid)
        target = fio.target_of_socket(peer.socket, peer.export)
        figures = fio.measure(cell, target, size, **_times(cell, disk, seconds))
        figures["server_cpu_s"] = cpu_seconds(peer.child.pid) - before
    return figures


def _bare(folder, cell, size, seconds):
    """fio on a file of the same disk with O_DIRECT: the device's own limit."""
    path = os.path.join(folder, "bare")
    if not os.path.exists(path):
        fio.measure("fill", fio.target_of_file(path, True), size)
    drop_caches()
    return fio.measure(cell, fio.target_of_file(path, True), size, **_times(cell, True, seconds))


def summary(rounds):
    """Median and spread ((max - min) / median) of one peer in one cell."""
    rates = [figures["bytes_per_s"] for figures in rounds]
    middle = statistics.median(rates)
    return {
        "bytes_per_s": middle,
        "iops": statistics.median(figures["iops"] for figures in rounds),
        "rounds": len(rounds),
        "spread": (max(rates) - min(rates)) / middle if middle else 0.0,
        "latency_us_p99": statistics.median(figures["latency_us_p99"] for figures in rounds),
    }
