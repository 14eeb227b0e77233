"""What the figures were measured on; recorded with them, because they mean nothing without it."""

import os
import platform
import subprocess


def _first_line(args):
    try:
        done = subprocess.run(args, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return "absent"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def _cpu():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpu_flags():
    with open("/proc/cpuinfo") as info:
        flags = next((line.split(":", 1)[1].split() for line in info if line.startswith("flags")), [])
    return [flag for flag in ("aes", "avx2", "vaes", "vpclmulqdq", "avx512f") if flag in flags]


def _filesystem(path):
    return _first_line(["findmnt", "-n", "-o", "FSTYPE", "-T", path])


def _commit(folder):
    """The last commit that changed the program, with a mark if its sources differ from it: what was measured with is no part of it."""
    sources = ["--", "src", "Cargo.toml", "Cargo.lock"]
    line = _first_line(["git", "-C", folder, "log", "-1", "--format=%h", "--abbrev=12", *sources])
    changed = _first_line(["git", "-C", folder, "status", "--porcelain", *sources])
    return "unknown" if not line or " " in line else line + ("-dirty" if changed else "")


def describe(places, root, keymoult):
    """A dict for the raw results. `places` maps a backing's name to its folder; `root` is the repository's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cpu_flags": _cpu_flags(),
        "memory_gib": round(memory / (1 << 30), 1),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "backings": {name: _filesystem(path) for name, path in places.items()},
        "keymoult": "%s, commit %s" % (_first_line([keymoult, "--version"]), _commit(root)),
        "fio": _first_line(["fio", "--version"]),
        "nbdkit": _first_line(["nbdkit", "--version"]),
        "qemu-nbd": _first_line(["qemu-nbd", "--version"]),
        "nbdinfo": _first_line(["nbdinfo", "--version"]),
    }


def drop_caches():
    """Writes dirty pages out and forgets clean ones, so that a disk cell starts cold. Needs root; says so if it cannot."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as control:
            control.write("3\n")
    except PermissionError:
        raise RuntimeError("disk cells need root: they drop the page cache before each measurement") from None
