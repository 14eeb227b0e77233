"""Results as Markdown tables."""

import statistics

from . import ratios
from .beside import rounds
from .cells import summary

WORDS = {"shm": "backing in memory (/dev/shm)", "disk": "backing on disk"}


def gigabytes(rate):
    return "%.2f" % (rate / 1e9)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _cell_text(cell, figures):
    rate = "%.0fk IOPS" % (figures["iops"] / 1000) if cell.startswith("rand") else gigabytes(figures["bytes_per_s"]) + " GB/s"
    return "%s ±%.0f %%" % (rate, 50 * figures["spread"]) if figures["rounds"] > 1 else rate


def cells(results):
    """The peers' table: medians with half their spread."""
    middle = {cell: {peer: summary(rounds) for peer, rounds in peers.items()} for cell, peers in results.items()}
    names = list(next(iter(middle.values())))
    rows = [[name] + [_cell_text(cell, middle[cell][name]) for cell in middle] for name in names]
    text = table(["server"] + list(middle), rows)
    ratios = _ratios(results)
    return text + ("\n" + ratios if ratios else "")


def _ratios(results):
    """Ratios taken round by round, of measurements seconds apart; their median and range."""
    rows = []
    for label, group in (("fastest encrypted peer", ratios.ENCRYPTED), ("fastest plain peer", ratios.PLAIN),
                         ("null server", ("nbdkit null",)),
                         ("our null server", ("keymoult null",)), ("keymoult plain", ("keymoult plain",)),
                         ("no server, O_DIRECT", ("no server",))):
        for mine in ("keymoult", "keymoult plain"):
            row = [_ratio(peers, mine, group) for peers in results.values()]
            if mine not in group and any(text != "–" for text in row):
                rows.append(["%s ÷ %s" % (mine, label)] + row)
    return table(["ratio, round by round"] + list(results), rows) if rows else ""


def _ratio(servers, mine, group):
    found = ratios.by_round(servers, mine, group)
    return ratios.worded(found) if found else "–"


def p99(results):
    """99th percentile of completion latency, microseconds, medians over the rounds."""
    names = list(next(iter(results.values())))
    rows = [[name] + ["%.0f" % summary(results[cell][name])["latency_us_p99"] for cell in results] for name in names]
    return table(["p99, µs"] + list(results), rows)


def cpu(results):
    """Server CPU seconds per gigabyte moved."""
    rows = []
    for name in next(iter(results.values())):
        if name == "no server":
            continue
        rows.append([name] + ["%.2f" % statistics.median(f["server_cpu_s"] * 1e9 / max(f["bytes"], 1) for f in results[cell][name])
                              for cell in results])
    return table(["server CPU, s per GB"] + list(results), rows)


def rotations(results):
    """`results` maps (backing, verification) to rounds."""
    rows = []
    for label, rounds in results.items():
        def middle(key):
            values = [figures[key] for figures in rounds if figures[key] is not None]
            return statistics.median(values) if values else None

        rates = [figures["bytes_per_s"] for figures in rounds]
        size = rounds[0]["bytes_rewritten"] or 1
        device = middle("device_bytes_written")
        traced, flushes = middle("traced_syncs"), middle("device_flushes")
        rows.append([
            label,
            "%s (%s–%s)" % (gigabytes(statistics.median(rates)), gigabytes(min(rates)), gigabytes(max(rates))),
            "%.4f" % middle("write_amplification"),
            "%.4f" % (device / size) if device is not None else "–",
            "%.0f" % middle("batches"),
            "%.0f" % middle("flushes"),
            "%.0f" % traced if traced is not None and device is not None else "–",
            "%.0f" % flushes if flushes is not None else "–",
        ])
    head = ["rotation", "GB/s (range)", "write amplification, own count", "same, device's count", "batches", "flushes, own count",
            "syncs traced on ext4", "device flushes"]
    return table(head, rows)


def rotation_peers(results):
    """What peers do to change a key: {backing: {peer: rounds}}."""
    rows = []
    for backing, peers in results.items():
        for name, rounds in peers.items():
            rows.append([name, WORDS[backing], ratios.worded([rate / 1e9 for rate in ratios.rates(rounds)])])
    return table(["peer", "", "GB/s (range)"], rows)


def disk_limit(results):
    """What the disk alone allows: {verification: rounds}."""
    rows = [["verification " + verify, ratios.worded([rate / 1e9 for rate in ratios.rates(rounds)])]
            for verify, rounds in results.items()]
    return table(["the disk's own limit for a rotation", "GB/s (range)"], rows)


def beside(results):
    """The client's figures beside rotations, one table for each client job: medians, and ranges where there are rounds."""
    text = ""
    for job, ways in results.items():
        lines = []
        for label, way in ways.items():
            found = rounds(way)
            worded = lambda key, unit, form: ratios.worded([f[key] / unit for f in found], form) if key in found[0] else "–"
            lines.append([label, worded("bytes_per_s", 1e9, "%.2f"), worded("latency_us_p50", 1, "%.0f"),
                          worded("latency_us_p99", 1, "%.0f"), worded("latency_us_p999", 1, "%.0f"),
                          worded("latency_us_max", 1e3, "%.1f"), worded("rotation_bytes_per_s", 1e9, "%.2f"),
                          worded("held_bytes", 1 << 20, "%.0f")])
        text += table([job, "client GB/s", "p50 µs", "p99 µs", "p99.9 µs", "max ms", "rotation GB/s", "held MiB"], lines) + "\n"
    return text


def measured(raw):
    """What was measured, with what and on what, in a sentence."""
    m = raw["machine"]
    versions = [m[name] for name in ("keymoult", "fio", "nbdkit", "qemu-nbd", "nbdinfo") if name in m]
    return "Measured %s with `%s` on %s, %d cores (%s), %s GiB, Linux %s; %s; load before the run %.1f.\n" % (
        raw["when"], raw["command"], m["cpu"], m["cores"], ", ".join(m["cpu_flags"]), m["memory_gib"], m["kernel"],
        "; ".join(versions), m["load_before"])


def whole(raw):
    """All tables, for the terminal."""
    parts = [measured(raw)]
    for backing, results in raw["cells"].items():
        parts.append("### Four cells, %s\n" % WORDS[backing])
        parts += [cells(results), p99(results), cpu(results)]
    if raw["rotation"]:
        parts.append("### Rotation\n\n" + rotations(raw["rotation"]))
    if raw.get("disk_limit"):
        parts.append(disk_limit(raw["disk_limit"]))
    for backing, results in raw["beside"].items():
        parts.append("### A client beside a rotation, %s\n\n%s" % (WORDS[backing], beside(results)))
    return "\n".join(parts)
