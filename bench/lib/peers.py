"""The servers that are measured side by side. Each makes its backing in a folder and serves it on a unix socket.

Every backing is filled before anything is measured: through its own server, LUKS images directly. `direct` asks for O_DIRECT on a disk:
keymoult takes it by itself, qemu-nbd when told, nbdkit never.
"""

import os
import socket
import subprocess
import time

from .process import run, say, stop

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KEYMOULT = os.environ.get("KEYMOULT_BIN", os.path.join(ROOT, "target", "release", "keymoult"))
READY_SECONDS = 60


class Peer:
    """A server under test. Subclasses say how to make a backing and how to serve it."""

    name = ""
    encrypted = False
    has_backing = True
    export = ""

    def __init__(self, folder, size, direct):
        self.folder = os.path.join(folder, self.name.replace(" ", "-"))
        self.size, self.direct, self.child = size, direct, None
        os.makedirs(self.folder)
        self.socket = os.path.join(self.folder, "nbd")
        self.file = os.path.join(self.folder, "backing")
        self.create()

    def create(self):
        with open(self.file, "wb") as backing:
            backing.truncate(self.size)

    def fill(self):
        """Random data that does not repeat, through the server."""
        from .fio import measure, target_of_socket

        with self:
            measure("fill", target_of_socket(self.socket, self.export), self.size)

    def command(self):
        raise NotImplementedError

    def shown(self):
        """The command as one would type it: DIR is the peer's folder."""
        program, *rest = self.command()
        return " ".join([os.path.basename(program)] + [word.replace(self.folder, "DIR") for word in rest])

    def clear(self):
        """Removes the sockets of a server that is gone."""
        for leftover in (self.socket, os.path.join(self.folder, "control")):
            if os.path.exists(leftover):
                os.unlink(leftover)

    def start(self):
        self.clear()
        log = open(os.path.join(self.folder, "log"), "ab")
        self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + READY_SECONDS
        while not greets(self.socket):
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s does not serve:\n%s" % (self.name, self.log()))
            time.sleep(0.02)

    def stop(self):
        stop(self.child)
        self.child = None

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return log.read()[-4000:]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


def greets(path):
    """Whether an NBD server answers on a unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(path)
            return client.recv(8) == b"NBDMAGIC"
    except OSError:
        return False


class Keymoult(Peer):
    """keymoult as it comes: AES-256-XTS, 4096-byte data units."""

    name = "keymoult"
    encrypted = True
    export = "backing"
    program = KEYMOULT
    create_flags = []

    def create(self):
        if not os.access(self.program, os.X_OK):
            raise RuntimeError("%s is not there: cargo build --release" % self.program)
        self.kek = "file:" + os.path.join(self.folder, "kek")
        self.control = os.path.join(self.folder, "control")
        run([self.program, "volume", "create", self.file, "--size", str(self.size), "--kek", self.kek, "--new-kek",
             *self.create_flags])

    def command(self):
        return [self.program, "serve", self.file, "--kek", self.kek, "--nbd", "unix:" + self.socket,
                "--control", "unix:" + self.control, "--state-dir", os.path.join(self.folder, "state")]


class KeymoultPlain(Keymoult):
    """keymoult with the identity in place of the cipher: what everything but encryption costs."""

    name = "keymoult plain"
    encrypted = False
    create_flags = ["--cipher", "none", "--i-know-this-is-plaintext"]


class KeymoultNull(Peer):
    """keymoult's NBD server with nothing behind it: the client's limit with us, and the cap of the targets."""

    name = "keymoult null"
    has_backing = False

    def create(self):
        self.program = os.path.join(os.path.dirname(KEYMOULT), "examples", "keymoult-null")
        if not os.access(self.program, os.X_OK):
            raise RuntimeError("%s is not there: cargo build --release --example keymoult-null" % self.program)

    def command(self):
        return [self.program, self.socket, str(self.size)]


class NbdkitFile(Peer):
    name = "nbdkit file"

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, "file", self.file]


class NbdkitNull(Peer):
    """Answers without touching any data: the client's own limit."""

    name = "nbdkit null"
    has_backing = False

    def create(self):
        pass

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, "null", "size=%d" % self.size]


class Luks(Peer):
    """A LUKS1 image, AES-256-XTS over 512-byte sectors: what both peers can open."""

    encrypted = True

    def create(self):
        self.passphrase = os.path.join(self.folder, "passphrase")
        with open(self.passphrase, "w") as file:
            file.write("benchmark")
        run(["qemu-img", "create", "-q", "-f", "luks", "--object", "secret,id=s,file=" + self.passphrase,
             "-o", "key-secret=s,iter-time=10,cipher-alg=aes-256,cipher-mode=xts", self.file, str(self.size)])

    def fill(self):
        """Random ciphertext is random data too, and comes about at the speed of the disk, which not every server reaches."""
        with open(self.file, "r+b") as file:
            file.seek(os.path.getsize(self.file) - self.size)
            for _ in range(self.size >> 20):
                file.write(os.urandom(1 << 20))


class NbdkitLuks(Luks):
    name = "nbdkit luks"

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, "file", self.file, "--filter=luks", "passphrase=+" + self.passphrase]


class QemuRaw(Peer):
    name = "qemu-nbd raw"

    def command(self):
        cache = ["--cache=none", "--aio=io_uring"] if self.direct else []
        return ["qemu-nbd", "-k", self.socket, "-e", "8", "-t", "-f", "raw", *cache, self.file]


class QemuLuks(Luks):
    name = "qemu-nbd luks"

    def command(self):
        image = "driver=luks,key-secret=s,file.driver=file,file.filename=" + self.file
        image += ",file.cache.direct=on,file.aio=io_uring" if self.direct else ""
        return ["qemu-nbd", "-k", self.socket, "-e", "8", "-t", "--object", "secret,id=s,file=" + self.passphrase,
                "--image-opts", image]


ALL = [Keymoult, KeymoultPlain, NbdkitFile, NbdkitLuks, QemuRaw, QemuLuks, NbdkitNull, KeymoultNull]


def chosen(names):
    """The peers by name; all when `names` is empty. Dashes may stand for spaces."""
    known = {peer.name: peer for peer in ALL}
    wanted = [name.strip().replace("-", " ").replace("qemu nbd", "qemu-nbd") for name in names] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit("bench: no peer %s; there are: %s" % (", ".join(unknown), ", ".join(known)))
    return [known[name] for name in wanted]


def fill(peer):
    """Fills a backing with random data."""
    if peer.has_backing:
        say("  filling %s" % peer.name)
        peer.fill()
