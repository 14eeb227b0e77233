"""The control API of a running daemon over its unix socket, as far as the benchmark needs it."""

import http.client
import json
import socket
import time

POLL_SECONDS = 0.02
SETTLED = ("idle", "verified", "finalized", "rolled-back", "failed")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(control, method, path, body=None):
    """One request; the parsed answer. Raises with the daemon's words when it refuses."""
    connection = _UnixConnection(control)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, "/v1" + path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            raise RuntimeError("%s %s: %d %s" % (method, path, answer.status, text))
        return json.loads(text)
    finally:
        connection.close()


def rotation(control, volume):
    return call(control, "GET", "/volumes/%s/rotation" % volume)


def status(control, volume):
    return call(control, "GET", "/volumes/%s" % volume)


def start(control, volume, verify="off", bytes_per_s=None, adaptive=False, factor=2.0):
    """Starts a rotation; unpaced unless told otherwise."""
    pace = {"adaptive": adaptive, "factor": factor}
    if bytes_per_s:
        pace["bytes_per_s"] = bytes_per_s
    return call(control, "POST", "/volumes/%s/rotation/start" % volume, {"pace": pace, "verify": verify})


def wait(control, volume):
    """Polls until the rotation has settled; returns it. A failed one raises."""
    while True:
        now = rotation(control, volume)
        if now["state"] in SETTLED:
            if now["state"] == "failed":
                raise RuntimeError("the rotation failed: %s" % now.get("why"))
            return now
        time.sleep(POLL_SECONDS)
