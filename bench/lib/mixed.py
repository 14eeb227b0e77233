"""What a disk allows a rotation: reading and writing the same number of bytes, in order, without any server.

fio reads and writes a file of random data front to back in pieces of 1 MiB, with O_DIRECT through io_uring, 32 under
way, an fdatasync after every 64 MiB written. What counts is bytes written per second: a rotation reads as many. A rotation
that verifies reads every byte a second time, so its limit is measured with two reads for each write.
"""

import os

from .fio import job_of

PIECE = 1 << 20
SYNC_AFTER = 64
# Reads in a hundred operations, by verification.
READS = {"off": 50, "full": 67}


def measure(folder, size, seconds, rounds):
    """{verification: rounds}; `bytes_per_s` is what a rotation that is nothing but I/O would make."""
    path = os.path.join(folder, "mixed")
    with open(path, "wb") as file:
        for _ in range(size // PIECE):
            file.write(os.urandom(PIECE))
        os.fsync(file.fileno())
    results = {verify: [] for verify in READS}
    for _ in range(rounds):
        for verify, reads in READS.items():
            results[verify].append({"bytes_per_s": _written_per_s(path, size, reads, seconds)})
    os.unlink(path)
    return results


def _written_per_s(path, size, reads, seconds):
    job = job_of(["fio", "--output-format=json", "--name=mixed", "--filename=" + path, "--ioengine=io_uring", "--direct=1",
                  "--rw=rw", "--rwmixread=%d" % reads, "--bs=%d" % PIECE, "--iodepth=32", "--fdatasync=%d" % SYNC_AFTER,
                  "--size=%d" % size, "--time_based=1", "--runtime=%d" % seconds, "--end_fsync=1"])
    return job["write"]["io_bytes"] * 1000 / max(job["write"]["runtime"], 1)
