"""System calls, context switches and wake-ups for each request, of keymoult and of the peers beside it.

`perf stat` counts tracepoints in the server's process for the time of a whole fio run, threads that come and go
included; the counts are divided by the requests fio made. Ring operations are no system calls: io_uring_enter stands by
itself. Bytes that the kernel copies cannot be counted without probes in the kernel; server CPU seconds are given instead.
"""

import signal
import subprocess
import time

from . import crowd
from .peers import Keymoult, KeymoultPlain, NbdkitFile, NbdkitLuks, fill
from .process import cpu_seconds, need

PEERS = [Keymoult, KeymoultPlain, NbdkitFile, NbdkitLuks]
CALLS = ["io_uring_enter", "futex", "read", "write", "recvfrom", "sendto", "recvmsg", "sendmsg", "pread64", "pwrite64", "poll"]
EVENTS = {"system calls": "raw_syscalls:sys_enter", "context switches": "context-switches",
          "wake-ups given": "sched:sched_wakeup", **{call: "syscalls:sys_enter_" + call for call in CALLS}}
ATTACH_SECONDS = 0.5


def measure(folder, size, seconds):
    """{cell: {peer: {event: count per request, "requests": …, "server_cpu_us": per request}}}, one connection."""
    need("perf")
    ready = [peer(folder, size, False) for peer in PEERS]
    for peer in ready:
        fill(peer)
    results = {cell: {} for cell in crowd.CELLS}
    for cell, by_peer in results.items():
        for peer in ready:
            with peer:
                by_peer[peer.name] = _one(peer, cell, size, seconds)
    return results


def _one(peer, cell, size, seconds):
    before = cpu_seconds(peer.child.pid)
    with Counting(peer.child.pid) as counts:
        figures = crowd.measure(peer, cell, size, seconds, 1)
    spent = cpu_seconds(peer.child.pid) - before
    requests = figures["requests"]
    each = {name: counts.found[event] / requests if event in counts.found else None for name, event in EVENTS.items()}
    return {**each, "requests": requests, "server_cpu_us": spent * 1e6 / requests}


class Counting:
    """perf stat on a process while it is entered; `found` maps events to counts, without those it could not count."""

    def __init__(self, pid):
        self.pid, self.found = pid, {}

    def __enter__(self):
        self.child = subprocess.Popen(["perf", "stat", "-x", ";", "-e", ",".join(EVENTS.values()), "-p", str(self.pid)],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(ATTACH_SECONDS)
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGINT)
        _, text = self.child.communicate(timeout=30)
        for line in text.splitlines():
            fields = line.split(";")
            if len(fields) > 2 and fields[0].isdigit():
                self.found[fields[2]] = int(fields[0])
        if EVENTS["system calls"] not in self.found:
            raise RuntimeError("perf counts no system calls here:\n" + text)
