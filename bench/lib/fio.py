"""One fio run against a target, and the figures that matter from its JSON."""

import json
import os

from .process import run

# Where the latency distribution is kept; fio takes twenty percentiles at most.
PERCENTILES = (50, 60, 70, 80, 90, 92, 95, 97, 98, 99, 99.3, 99.5, 99.7, 99.8, 99.9, 99.93, 99.95, 99.97, 99.98, 99.99)
JOBS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "jobs")


def target_of_socket(socket, export=""):
    """fio arguments for an NBD server on a unix socket."""
    return ["--ioengine=nbd", "--uri=nbd+unix:///%s?socket=%s" % (export, socket)]


def target_of_file(path, direct):
    """fio arguments for a file or a block device, without any server."""
    return ["--ioengine=io_uring", "--direct=%d" % direct, "--filename=%s" % path]


def measure(job, target, size, seconds=1, time_based=True):
    """Runs `bench/jobs/JOB.fio` and returns its figures. Sizes in bytes, times in seconds and microseconds."""
    env = {
        "BENCH_SIZE": str(size),
        "BENCH_SECONDS": str(seconds),
        "BENCH_TIME_BASED": str(int(time_based)),
    }
    percentiles = "--percentile_list=" + ":".join(map(str, PERCENTILES))
    args = ["fio", "--output-format=json", *target, percentiles, os.path.join(JOBS, job + ".fio")]
    return _figures(job_of(args, env))


def job_of(args, env=None):
    """Runs fio and returns what its JSON says of the one job."""
    text = run(args, env=env, cwd="/tmp")
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise RuntimeError("fio reports error %d in %s" % (job["error"], job["jobname"]))
    return job


def _figures(job):
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    figures = {
        "bytes_per_s": sum(side["io_bytes"] * 1000 / max(side["runtime"], 1) for side in sides),
        "iops": sum(side["total_ios"] * 1000 / max(side["runtime"], 1) for side in sides),
        "bytes": sum(side["io_bytes"] for side in sides),
        "client_cpu_percent": job["usr_cpu"] + job["sys_cpu"],
    }
    for name, percentile in (("p50", 50), ("p99", 99), ("p999", 99.9)):
        figures["latency_us_" + name] = _latency_us(sides, percentile)
    figures["latency_us_percentiles"] = [[percentile, _latency_us(sides, percentile)] for percentile in PERCENTILES]
    figures["latency_us_max"] = max(side["clat_ns"]["max"] for side in sides) / 1000
    return figures


def _latency_us(sides, percentile):
    """The slower of reads and writes where there are both."""
    return max(side["clat_ns"].get("percentile", {}).get("%f" % percentile, 0) for side in sides) / 1000
