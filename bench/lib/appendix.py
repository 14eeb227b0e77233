"""The appendix of bench/RESULTS.md: the raw figures of every round, folded away, one table for each cell."""

from . import report
from .beside import middle

HEAD = "## Every round\n"


def whole(raw):
    parts = [HEAD]
    for backing, cells in raw["cells"].items():
        for cell, servers in cells.items():
            parts.append(folded("%s, %s" % (cell, report.WORDS[backing]), cell_rounds(servers)))
    if raw["rotation"]:
        parts.append(folded("rotations", rotation_rounds(raw["rotation"])))
    for backing, jobs in raw["beside"].items():
        for job, ways in jobs.items():
            if any(middle(way)["latency_us_percentiles"] for way in ways.values()):
                parts.append(folded("%s, %s: percentiles" % (job, report.WORDS[backing]), percentiles(ways)))
    return "\n".join(parts)


def folded(title, table):
    return "<details><summary>%s</summary>\n\n%s\n</details>\n" % (title, table)


def cell_rounds(servers):
    """A row for each server and round."""
    head = ["server", "round", "MB/s", "IOPS", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "client CPU %", "server CPU s",
            "bytes"]
    rows = []
    for name, rounds in servers.items():
        for number, f in enumerate(rounds):
            latencies = ["%.0f" % f["latency_us_" + key] for key in ("p50", "p99", "p999", "max")]
            server = "%.2f" % f["server_cpu_s"] if "server_cpu_s" in f else "–"
            rows.append([name, str(number + 1), "%.1f" % (f["bytes_per_s"] / 1e6), "%.0f" % f["iops"], *latencies,
                         "%.0f" % f["client_cpu_percent"], server, str(f["bytes"])])
    return report.table(head, rows)


def rotation_rounds(results):
    """A row for each rotation; what could not be counted is a dash."""
    head = ["rotation", "round", "seconds", "MB/s", "bytes rewritten", "metadata bytes", "batches", "flushes", "syncs traced",
            "device bytes", "device flushes"]
    keys = ["bytes_rewritten", "metadata_bytes", "batches", "flushes", "traced_syncs", "device_bytes_written", "device_flushes"]
    rows = []
    for label, rounds in results.items():
        for number, f in enumerate(rounds):
            counts = ["–" if f[key] is None else str(f[key]) for key in keys]
            rows.append([label, str(number + 1), "%.3f" % f["seconds"], "%.1f" % (f["bytes_per_s"] / 1e6), *counts])
    return report.table(head, rows)


def percentiles(ways):
    """Latency in microseconds by percentile, a column for each way."""
    listed = {label: dict(map(tuple, middle(way)["latency_us_percentiles"])) for label, way in ways.items()}
    marks = sorted({mark for points in listed.values() for mark in points})
    rows = [["%g" % mark] + ["%.0f" % points[mark] if mark in points else "–" for points in listed.values()] for mark in marks]
    return report.table(["percentile"] + list(listed), rows)
