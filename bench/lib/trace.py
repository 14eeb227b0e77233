"""Counting what reaches the file system and the device, independent of what the daemon says of itself.

Ring operations make no system calls that strace could see, so syncs are counted where ext4 receives them (a tracepoint in
a trace instance of our own, filtered by inode), and bytes and device flushes from the block device's statistics. Where nobody
has mounted tracefs it is mounted in a folder of our own for as long as it is needed.
"""

import os
import subprocess
import tempfile
import time

TRACING = "/sys/kernel/tracing"


class SyncTrace:
    """Counts fsync and fdatasync of one file on ext4 while it is entered. `count` is None where that cannot be traced."""

    def __init__(self, path):
        self.inode = os.stat(path).st_ino
        self.mounted = self.folder = None
        self.count = None

    def _tracing(self):
        """Where tracefs is; mounts it if it is nowhere."""
        if os.path.isdir(os.path.join(TRACING, "instances")):
            return TRACING
        self.mounted = tempfile.mkdtemp(prefix="kmtrace")
        subprocess.run(["mount", "-t", "tracefs", "none", self.mounted], stderr=subprocess.DEVNULL, check=False)
        return self.mounted

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text)

    def __enter__(self):
        self.folder = os.path.join(self._tracing(), "instances", "keymoult-bench-%d" % os.getpid())
        try:
            os.mkdir(self.folder)
            event = "events/ext4/ext4_sync_file_enter/"
            self._write("buffer_size_kb", "4096")
            self._write(event + "filter", "ino == %d" % self.inode)
            self._write(event + "enable", "1")
            self.active = True
        except OSError:
            self.active = False
        return self

    def __exit__(self, *_):
        if self.active:
            self._write("tracing_on", "0")
            with open(os.path.join(self.folder, "trace")) as trace:
                self.count = sum("ext4_sync_file_enter" in line for line in trace if not line.startswith("#"))
        if os.path.isdir(self.folder):
            os.rmdir(self.folder)
        if self.mounted:
            subprocess.run(["umount", self.mounted], stderr=subprocess.DEVNULL, check=False)
            os.rmdir(self.mounted)


def device_of(path):
    """The folder in /sys of the block device under a path, or None (tmpfs has none)."""
    number = os.stat(path).st_dev
    folder = "/sys/dev/block/%d:%d" % (os.major(number), os.minor(number))
    return folder if os.path.exists(folder + "/stat") else None


class DeviceCounters:
    """Bytes written to, and flushes completed by, the block device under a path while it is entered; None on tmpfs."""

    def __init__(self, path):
        self.device = device_of(path)
        self.bytes_written = self.flushes = self.seconds = None

    def _read(self):
        with open(self.device + "/stat") as stat:
            fields = [int(field) for field in stat.read().split()]
        # Field 7 is sectors of 512 bytes written; field 16 is flush requests completed (Linux 5.5 and later).
        return fields[6] * 512, fields[15] if len(fields) > 15 else 0

    def __enter__(self):
        os.sync()
        self.begun = time.monotonic()
        if self.device:
            self.before = self._read()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begun
        if self.device:
            after = self._read()
            self.bytes_written, self.flushes = after[0] - self.before[0], after[1] - self.before[1]
