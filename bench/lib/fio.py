"""One fio run against a target, and the figures that matter from its JSON."""

import json
import os

from .process import run

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
    args = ["fio", "--output-format=json", *target, os.path.join(JOBS, job + ".fio")]
    text = run(args, env=env, cwd="/tmp")
    return _figures(json.loads(text[text.index("{"):])["jobs"][0])


def _figures(job):
    if job["error"]:
        raise RuntimeError("fio reports error %d in %s" % (job["error"], job["jobname"]))
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    figures = {
        "bytes_per_s": sum(side["io_bytes"] * 1000 / max(side["runtime"], 1) for side in sides),
        "iops": sum(side["total_ios"] * 1000 / max(side["runtime"], 1) for side in sides),
        "bytes": sum(side["io_bytes"] for side in sides),
        "client_cpu_percent": job["usr_cpu"] + job["sys_cpu"],
    }
    for name, key in (("p50", "50.000000"), ("p99", "99.000000"), ("p999", "99.900000")):
        figures["latency_us_" + name] = max(side["clat_ns"].get("percentile", {}).get(key, 0) for side in sides) / 1000
    figures["latency_us_max"] = max(side["clat_ns"]["max"] for side in sides) / 1000
    return figures
