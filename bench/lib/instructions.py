"""Instructions under callgrind for pieces of work that do the same each time, so that timing's noise does not matter.

What is counted is the difference between doing a piece N and 2N times, so that starting and ending cancel. `keymoult-pieces`
(bench/pieces) does the pieces of the hot paths; the daemon makes and checks a volume, and answers one client with one request in
flight. Keys of volumes are random, and how a client's bytes arrive varies a little, so where sockets or keys are in play the
least of a few runs counts.
"""

import os
import re
import subprocess
import time

from .compare import build
from .fio import target_of_socket
from .peers import greets
from .process import run, say, stop

SIZE = 16 << 20
RUNS = 3
REQUESTS = {"read-128k": ("read", "128k", 100), "write-128k": ("write", "128k", 100), "randread-4k": ("randread", "4k", 2000),
            "randwrite-4k": ("randwrite", "4k", 2000)}
PATIENCE_SECONDS = 60
# How often a piece is done. Sessions start and end in threads, whose counts vary: the more requests, the less that matters.
PIECE_COUNT, SESSION_COUNT = 100, 3000


def both(folder, programs):
    """{what: ([A's least count], [B's])}."""
    sides = []
    for label, program in zip("ab", programs):
        own = os.path.join(folder, label)
        os.makedirs(own)
        sides.append(_all(own, program))
    return shared(*sides)


def shared(first, second):
    """What both builds can do, each with a list of one count a build."""
    return {name: ([first[name]], [second[name]]) for name in first if name in second}


def _all(folder, program):
    peer = build(folder, "volume", program, SIZE)
    with peer:
        run(["fio", *target_of_socket(peer.socket, peer.export), "--name=fill", "--rw=write", "--bs=1M", "--size=%d" % SIZE],
            cwd="/tmp")
    found = {
        "volume create, 16 MiB": min(_create(folder, program, number) for number in range(RUNS)),
        "volume check --full, 16 MiB": min(_count([program, "volume", "check", "--full", peer.file, "--kek", peer.kek], folder)
                                           for _ in range(RUNS)),
    }
    found.update(pieces(program, folder))
    for name, job in REQUESTS.items():
        found["a request of " + name] = min(_per_request(peer, folder, job) for _ in range(RUNS))
    return found


def _valgrind(log):
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=" + log]


def collected(text):
    """The instructions that callgrind says it has seen."""
    return int(re.search(r"Collected : (\d+)", text).group(1))


def _collected(log):
    with open(log) as file:
        return collected(file.read())


def each(count, times):
    """What one more costs, from what `count` of N and of 2N times says."""
    return (count(2 * times) - count(times)) / times


def pieces(program, folder):
    """{piece: instructions each time} of the example beside a program; nothing for a build from before there was one."""
    example = os.path.join(os.path.dirname(program), "examples", "keymoult-pieces")
    if not os.path.exists(example):
        say("  %s is not there: its pieces are not counted" % example)
        return {}
    found = {}
    for name in run([example]).splitlines():
        turns, times = (RUNS, SESSION_COUNT) if name.startswith("session") else (1, PIECE_COUNT)
        found[name] = each(lambda wanted: min(_count([example, name, str(wanted)], folder) for _ in range(turns)), times)
    return found


def _count(args, folder):
    log = os.path.join(folder, "callgrind")
    run([*_valgrind(log), *args])
    return _collected(log)


def _create(folder, program, number):
    path = os.path.join(folder, "made%d" % number)
    return _count([program, "volume", "create", path, "--size", str(SIZE), "--kek", "file:" + path + ".kek", "--new-kek"],
                  folder)


def _per_request(peer, folder, job):
    rw, block, requests = job
    return each(lambda times: _served(peer, folder, rw, block, times), requests)


def _served(peer, folder, rw, block, requests):
    """Instructions of a server that starts, answers so many requests, and stops. Valgrind cannot run the ring."""
    log = os.path.join(folder, "callgrind")
    peer.clear()
    child = subprocess.Popen([*_valgrind(log), *peer.command(), "--io", "posix"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not greets(peer.socket):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("keymoult does not serve under callgrind")
            time.sleep(0.2)
        run(["timeout", str(PATIENCE_SECONDS), "fio", *target_of_socket(peer.socket, peer.export), "--name=count",
             "--rw=" + rw, "--bs=" + block, "--iodepth=1", "--randseed=1", "--size=%d" % SIZE, "--number_ios=%d" % requests], cwd="/tmp")
    finally:
        stop(child)
    return _collected(log)
