"""fio over several connections: one process, thus one connection, for each job, and their sum.

The requests in flight stay the same in all, however many connections share them, so that only the connections differ. What all
jobs moved counts over the time fio ran, connecting included: each job has a clock of its own, and with many connections some have ended
before others have begun, so that rates by those clocks add up to more than anybody moved.
"""

import json
import time

from .fio import target_of_socket
from .process import run

IN_FLIGHT = 64
CELLS = {
    "read-128k": ("read", "128k"),
    "write-128k": ("write", "128k"),
    "randread-4k": ("randread", "4k"),
    "randwrite-4k": ("randwrite", "4k"),
}


def measure(peer, cell, size, seconds, connections, *more):
    """Figures of one cell over the first `size` bytes; sequential jobs have a region each. `more` are fio arguments."""
    rw, block = CELLS[cell]
    share = (size // connections) & ~((1 << 20) - 1) or 1 << 20
    regions = [] if rw.startswith("rand") else ["--offset_increment=%d" % share]
    begun = time.monotonic()
    text = run(["fio", "--output-format=json", *target_of_socket(peer.socket, peer.export), "--name=" + cell,
                "--rw=" + rw, "--bs=" + block, "--iodepth=%d" % max(1, IN_FLIGHT // connections),
                "--numjobs=%d" % connections, "--group_reporting", "--time_based", "--runtime=%d" % seconds,
                "--size=%d" % (share if regions else size), *regions, *more], cwd="/tmp")
    return figures(json.loads(text[text.index("{"):])["jobs"][0], time.monotonic() - begun)


def figures(job, elapsed):
    """What matters of a group of jobs that took so many seconds together."""
    if job["error"]:
        raise RuntimeError("fio reports error %d in %s" % (job["error"], job["jobname"]))
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    if not sides:
        raise RuntimeError("fio did nothing in %s" % job["jobname"])
    return {
        "bytes_per_s": sum(side["io_bytes"] for side in sides) / elapsed,
        "iops": sum(side["total_ios"] for side in sides) / elapsed,
        "bytes": sum(side["io_bytes"] for side in sides),
        "requests": sum(side["total_ios"] for side in sides),
        "flushes": job.get("sync", {}).get("total_ios", 0),
        "latency_us_p99": max(side["clat_ns"].get("percentile", {}).get("99.000000", 0) for side in sides) / 1000,
    }
