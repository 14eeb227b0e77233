"""Opening a sparse volume of 15 TiB: how long until it serves, what stays in memory, how long a census takes.

A volume of 1 GiB stands beside it: what starting costs without its size. On a disk the start is measured with a cold page
cache too, and what the disk gives to somebody who reads as many bytes as the tags take: the volume is read with O_DIRECT,
so its tags come from the device however warm the page cache is.
"""

import os
import subprocess
import tempfile
import time

from . import api, proc
from .fio import job_of
from .machine import drop_caches
from .peers import Keymoult, greets
from .process import run, say

SIZES = {"15 TiB": 15 << 40, "1 GiB": 1 << 30}
EXTENT = 1 << 20
TAG_BYTES = 4
PIECE = 1 << 20


class Vast(Keymoult):
    """A sparse volume whose size nobody has to write."""

    create_flags = ["--assume-zeroed"]


def measure(backing, folder, rounds):
    """{size: {"create_s", "tag_table_bytes", "starts": {"warm" | "cold": [figures]}}}, on disk "device_bytes_per_s" too."""
    results = {}
    for label, size in SIZES.items():
        with tempfile.TemporaryDirectory(dir=folder) as own:
            begun = time.monotonic()
            peer = Vast(own, size, backing == "disk")
            made = {"create_s": time.monotonic() - begun, "tag_table_bytes": size // EXTENT * TAG_BYTES}
            made["starts"] = {"warm": [], **({"cold": []} if backing == "disk" else {})}
            read = _reader(own, made["tag_table_bytes"]) if backing == "disk" and size > EXTENT << 20 else None
            if read:
                made["device_bytes_per_s"] = []
            _start(peer)
            for _ in range(rounds):
                if read:
                    made["device_bytes_per_s"].append(read())
                for temper, figures in made["starts"].items():
                    if temper == "cold":
                        drop_caches()
                    figures.append(_start(peer))
            results[label] = made
        say("  a volume of %s done" % label)
    return results


def _reader(folder, size):
    """Gives a function that reads a file of `size` random bytes once, in order and with O_DIRECT: bytes per second."""
    path = os.path.join(folder, "tags")
    with open(path, "wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
        os.fsync(file.fileno())

    def read():
        job = job_of(["fio", "--output-format=json", "--name=tags", "--filename=" + path, "--ioengine=io_uring", "--direct=1",
                      "--rw=read", "--bs=%d" % PIECE, "--iodepth=2", "--size=%d" % (size // PIECE * PIECE)])
        return job["read"]["io_bytes"] * 1000 / max(job["read"]["runtime"], 1)

    return read


def _start(peer):
    """One start, watched closely: the wait in `Peer.start` is too coarse for this."""
    peer.clear()
    begun = time.monotonic()
    with open(peer.folder + "/log", "ab") as log:
        peer.child = subprocess.Popen(peer.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not greets(peer.socket):
            if peer.child.poll() is not None or time.monotonic() - begun > 60:
                raise RuntimeError("%s does not serve:\n%s" % (peer.name, peer.log()))
            time.sleep(0.0005)
        serving = time.monotonic() - begun
        memory = proc.memory(peer.child.pid)
        while not os.path.exists(peer.control):  # clients are served before commands are
            time.sleep(0.001)
        return {"serving_s": serving, "memory": memory, **_census(peer)}
    finally:
        peer.stop()


def _census(peer):
    """The census twice: by the control API (counts), and block by block over NBD (a client's whole run)."""
    begun = time.monotonic()
    counts = api.status(peer.control, peer.export)["census"]
    counted = time.monotonic()
    run(["nbdinfo", "--map=x-keymoult:generation", "--json", "nbd+unix:///%s?socket=%s" % (peer.export, peer.socket)])
    mapped = time.monotonic()
    if sum(counts.values()) * EXTENT < peer.size:
        raise RuntimeError("the census does not cover the volume: %s" % counts)
    return {"census_api_s": counted - begun, "census_map_s": mapped - counted,
            "memory_after_census": proc.memory(peer.child.pid)}
