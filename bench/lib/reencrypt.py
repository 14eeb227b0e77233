"""A rotation beside what re-encrypts volumes elsewhere: `cryptsetup reencrypt` and `qemu-img convert`, luks to luks.

All in memory, on the same number of bytes of random data, in turn. cryptsetup runs offline on a LUKS2 file, which needs
no device mapper. Key derivation is kept short, so that only moving data counts. A rotation and cryptsetup work in place;
qemu-img writes a second image, and nobody can use the first meanwhile.
"""

import os
import time

from .peers import Keymoult, fill
from .process import need, run, say
from .rotation import rotate_once

HEADER = 16 << 20
SHORT_KDF = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
WAYS = {
    "cryptsetup reencrypt": ([], []),
    "cryptsetup, 4 KiB, unprotected": (["--sector-size", "4096"], ["--resilience", "none"]),
}


def measure(folder, size, rounds):
    """{way: [bytes per second of each round]}."""
    need("cryptsetup", "qemu-img")
    passphrase = os.path.join(folder, "passphrase")
    with open(passphrase, "w") as file:
        file.write("benchmark")
    peer = Keymoult(folder, size, False)
    fill(peer)
    files = {way: _luks2(folder, size, passphrase, number, format_flags)
             for number, (way, (format_flags, _)) in enumerate(WAYS.items())}
    image = _qemu_image(folder, size, passphrase, "from")
    results = {way: [] for way in ["keymoult", *WAYS, "qemu-img convert, luks to luks"]}
    for turn in range(rounds):
        with peer:
            results["keymoult"].append(rotate_once(peer, "off")["bytes_per_s"])
        for way, (_, flags) in WAYS.items():
            results[way].append(size / _seconds(["cryptsetup", "reencrypt", "-q", "--key-file", passphrase, *SHORT_KDF,
                                                 "--force-offline-reencrypt", *flags, files[way]]))
        results["qemu-img convert, luks to luks"].append(size / _convert(folder, size, passphrase, image))
        say("  re-encryption: round %d of %d done" % (turn + 1, rounds))
    return results


def as_peers(results):
    """The same figures as the rounds of a rotation's peers, for verdicts, tables and plots."""
    peers = {way: [{"bytes_per_s": rate} for rate in rates] for way, rates in results.items() if way != "keymoult"}
    return {"shm": peers} if peers else {}


def _seconds(args):
    begun = time.monotonic()
    run(args)
    return time.monotonic() - begun


def _random(file, size):
    for _ in range(size >> 20):
        file.write(os.urandom(1 << 20))


def _luks2(folder, size, passphrase, number, flags):
    """A LUKS2 file; what is random to its reader need not be written through it."""
    path = os.path.join(folder, "luks%d" % number)
    with open(path, "wb") as file:
        file.seek(HEADER)
        _random(file, size)
    run(["cryptsetup", "luksFormat", "-q", "--type", "luks2", *SHORT_KDF, "-c", "aes-xts-plain64", "-s", "512", *flags,
         "--key-file", passphrase, path])
    return path


def _options(passphrase, path):
    return ["--object", "secret,id=s,file=" + passphrase], "driver=luks,key-secret=s,file.filename=" + path


def _qemu_image(folder, size, passphrase, name):
    path = os.path.join(folder, name)
    if os.path.exists(path):
        os.unlink(path)
    run(["qemu-img", "create", "-q", "-f", "luks", "--object", "secret,id=s,file=" + passphrase,
         "-o", "key-secret=s,iter-time=10,cipher-alg=aes-256,cipher-mode=xts", path, str(size)])
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        length = file.tell()
        if name == "from":
            file.seek(length - size)
            _random(file, size)
    return path


def _convert(folder, size, passphrase, source):
    secret, image = _options(passphrase, source)
    _, target = _options(passphrase, _qemu_image(folder, size, passphrase, "to"))
    return _seconds(["qemu-img", "convert", "-n", *secret, "--image-opts", image, "--target-image-opts", target])
