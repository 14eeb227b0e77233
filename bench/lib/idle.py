"""What a daemon does while nobody asks for anything: CPU ticks, wake-ups, resident memory."""

import socket
import time

from . import proc
from .peers import Keymoult, NbdkitFile, QemuRaw

PEERS = [Keymoult, NbdkitFile, QemuRaw]
SETTLE_SECONDS = 1


def measure(folder, seconds):
    """{peer: {"nobody connected" | "one idle client": figures}} over `seconds` with one empty volume of 64 MiB."""
    results = {}
    for peer in [peer(folder, 64 << 20, False) for peer in PEERS]:
        with peer:
            results[peer.name] = {"nobody connected": _watch(peer, seconds)}
            with socket.socket(socket.AF_UNIX) as client:
                negotiate(client, peer)
                results[peer.name]["one idle client"] = _watch(peer, seconds)
    return results


def negotiate(client, peer):
    """The shortest handshake into the transmission phase: fixed newstyle, NBD_OPT_EXPORT_NAME, no zeroes."""
    client.connect(peer.socket)
    _exactly(client, 18)
    name = peer.export.encode()
    client.sendall(b"\x00\x00\x00\x03" + b"IHAVEOPT" + b"\x00\x00\x00\x01" + len(name).to_bytes(4, "big") + name)
    _exactly(client, 10)


def _exactly(client, count):
    while count:
        got = client.recv(count)
        if not got:
            raise RuntimeError("the server ended the handshake")
        count -= len(got)


def _watch(peer, seconds):
    time.sleep(SETTLE_SECONDS)
    before = proc.activity(peer.child.pid)
    time.sleep(seconds)
    after = proc.activity(peer.child.pid)
    return {
        "seconds": seconds,
        "cpu_ticks": after["ticks"] - before["ticks"],
        "voluntary_switches": after["voluntary"] - before["voluntary"],
        "involuntary_switches": after["involuntary"] - before["involuntary"],
        "threads": after["threads"],
        "memory": proc.memory(peer.child.pid),
    }
