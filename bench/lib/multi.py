"""Many connections: whether throughput grows with them, and holds up to 64.

`nbdcopy` moves a whole volume out and in; fio shares a fixed number of requests in flight among 1 to 64 connections.
"""

import os
import time

from . import crowd
from .peers import Keymoult, KeymoultNull, NbdkitFile, QemuRaw, fill
from .process import run, say

COPIES = [1, 4, 16]
CONNECTIONS = [1, 4, 16, 64]


class QemuRawMany(QemuRaw):
    """qemu-nbd that lets as many clients in as are measured; it limits them by itself otherwise."""

    def command(self):
        return [word if word != "8" else "100" for word in super().command()]


PEERS = [Keymoult, NbdkitFile, QemuRawMany]
# With fio beside them: what as many clients can move at most.
NULL = KeymoultNull.name


def measure(folder, size, seconds, rounds):
    """{"copy": {direction: {connections: {peer: [bytes/s]}}}, "fio": {cell: {connections: {peer: [figures]}}}}."""
    ready = [peer(folder, size, False) for peer in PEERS]
    for peer in ready:
        fill(peer)
    capped = [*ready, KeymoultNull(folder, size, False)]
    source = _source(folder, size)
    copy = {way: {str(n): {peer.name: [] for peer in ready} for n in COPIES} for way in ("out", "in")}
    fio = {cell: {str(n): {peer.name: [] for peer in capped} for n in CONNECTIONS} for cell in crowd.CELLS}
    for turn in range(rounds):
        for peer in ready if turn % 2 == 0 else reversed(ready):
            with peer:
                _copies(peer, source, size, copy)
        for cell, by_number in fio.items():
            for number in CONNECTIONS:
                for peer in capped if turn % 2 == 0 else reversed(capped):
                    with peer:
                        by_number[str(number)][peer.name].append(crowd.measure(peer, cell, size, seconds, number))
        say("  many connections: round %d of %d done" % (turn + 1, rounds))
    return {"copy": copy, "fio": fio, "in_flight": crowd.IN_FLIGHT}


def _source(folder, size):
    """A file of random data to copy in."""
    path = os.path.join(folder, "source")
    block = os.urandom(8 << 20)
    with open(path, "wb") as file:
        for number in range(size // len(block)):
            file.write(number.to_bytes(8, "little") + block[8:])
        file.truncate(size)
    return path


def _copies(peer, source, size, results):
    uri = "nbd+unix:///%s?socket=%s" % (peer.export, peer.socket)
    for number in COPIES:
        wide = ["nbdcopy", "--connections=%d" % number, "--threads=%d" % number]
        for way, ends in (("out", ["--no-extents", uri, "null:"]), ("in", ["--flush", source, uri])):
            begun = time.monotonic()
            run([*wide, *ends])
            results[way][str(number)][peer.name].append(size / (time.monotonic() - begun))


def by_connections(results):
    """(what was done, {connections: {server: bytes per second of each round}}) of everything the part did."""
    for way, by in results["copy"].items():
        yield "nbdcopy " + way, by
    for cell, by in results["fio"].items():
        yield "fio " + cell, {number: {peer: [f["bytes_per_s"] for f in rounds] for peer, rounds in peers.items()}
                              for number, peers in by.items()}


def of_fastest(peers):
    """keymoult ÷ the fastest of the others, round by round."""
    others = [max(turn) for turn in zip(*(rates for name, rates in peers.items() if name not in ("keymoult", NULL)))]
    return [mine / other for mine, other in zip(peers["keymoult"], others)]


def of_one(by, number):
    """keymoult with so many connections ÷ itself with one, round by round."""
    return [many / one for many, one in zip(by[number]["keymoult"], by["1"]["keymoult"])]


def of_null(by, number):
    """keymoult with so many connections ÷ our server with nothing behind it and as many; empty where that was not measured."""
    return [mine / most for mine, most in zip(by[number]["keymoult"], by[number].get(NULL, ()))]
