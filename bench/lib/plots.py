"""The plots of a run: which there are, what is in them, and their files in bench/plots."""

import os
import statistics

from . import bars, curves, plots_wide, ratios, svg, targets
from .beside import middle

PLACES = {"shm": "in memory", "disk": "on disk"}
ORDER = ["keymoult", "keymoult plain", "nbdkit file", "qemu-nbd raw", "nbdkit luks", "qemu-nbd luks", "nbdkit null",
         "keymoult null", "no server"]
KIND = {"keymoult": "mine", "keymoult plain": "bare", **dict.fromkeys(ratios.PLAIN, "plain"),
        **dict.fromkeys(ratios.ENCRYPTED, "crypt")}
CELLS = {"read-128k": "Sequential read, 128 KiB, 16 in flight", "write-128k": "Sequential write, 128 KiB, 16 in flight",
         "randread-4k": "Random read, 4 KiB, 32 in flight", "randwrite-4k": "Random write, 4 KiB, 32 in flight"}
CLIENTS = {"client-randrw-4k": "Random, 70 % reads, 4 KiB, 8 in flight",
           "client-write-128k": "Sequential write, 128 KiB, 4 in flight"}
SPREAD = "Bars are medians, whiskers reach from the slowest to the fastest round."


def everything(raw):
    """File names and contents of all plots the raw figures are enough for."""
    found = {}
    for backing, results in raw["cells"].items():
        if any(rounds for servers in results.values() for rounds in servers.values()):
            found["cells-%s.svg" % backing] = cells(backing, results)
    if raw["rotation"]:
        found["rotation.svg"] = rotation(raw["rotation"], raw.get("rotation_peers", {}))
    for backing, results in raw["beside"].items():
        found["beside-%s.svg" % backing] = beside(backing, results)
    return {**found, **plots_wide.everything(raw.get("wide", {}))}


def write(folder, found):
    """Writes the plots and removes those of an earlier run."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith(".svg") and name not in found:
            os.unlink(os.path.join(folder, name))
    for name, content in found.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(content)


def cells(backing, results):
    """Every server in every cell, one panel for each cell."""
    parts, at, kinds = [], 134, set()
    for cell, servers in results.items():
        random = cell.startswith("rand")
        rows = [_server(servers, name, "iops" if random else "bytes_per_s", 1 if random else 1e9)
                for name in ORDER if servers.get(name)]
        if not rows:
            continue
        kinds |= {row.kind for row in rows}
        unit, show, scale = ("IOPS", thousands, thousands) if random else ("GB/s", "{:.2f}".format, "{:g}".format)
        parts += bars.panel(at, CELLS.get(cell, cell), unit, rows, show, "keymoult is", goal(servers, 4096 if random else 1e9), scale)
        at += bars.height(rows)
    lines = [SPREAD, "The last column is keymoult ÷ that server: the median of the ratios of the rounds."]
    return svg.document("One client, one connection, backing %s" % PLACES[backing],
                        "Horizontal bars: throughput of keymoult, its peers and what limits them all. " + SPREAD,
                        at + 4, svg.wrapped(24, 60, lines) + bars.legend(104, kinds) + parts)


def goal(servers, unit):
    """The highest of the targets in a cell, in `unit` bytes a second, and what it is called; None where nothing tells."""
    bare, plain, null = (ratios.best(servers, group) for group in (("no server",), ratios.PLAIN, ("keymoult null",)))
    if bare:
        return statistics.median(bare) * targets.OF_BARE / unit, "target: %g of no server" % targets.OF_BARE
    if not plain:
        return None
    wanted = statistics.median(plain) * targets.OF_PLAIN
    cap = targets.CAP * statistics.median(null) if null else wanted
    if cap < wanted:
        return cap / unit, "target: %g of keymoult null" % targets.CAP
    return wanted / unit, "target: %g × plain" % targets.OF_PLAIN


def _server(servers, name, key, unit):
    ratio = ratios.by_round(servers, "keymoult", (name,)) if name != "keymoult" else None
    return bars.Bar(name, KIND.get(name, "limit"), [figures[key] / unit for figures in servers[name]],
                    times(statistics.median(ratio)) if ratio else "")


def times(ratio):
    return ("%.2f ×" if ratio < 10 else "%.0f ×") % ratio


def thousands(figure):
    return "%.0fk" % (figure / 1e3)


def rotation(results, peers):
    """Speed of rotations, memory and disk, without and with verification, beside what peers do to change a key."""
    parts, at = [], 106
    for backing, place in PLACES.items():
        rows = _rotations(place, results) + _rotation_peers(backing, place, results, peers)
        if rows:
            guide = (2.0, "target 2 GB/s") if backing == "shm" else None
            parts += bars.panel(at, "Backing " + place, "GB/s", rows, "{:.2f}".format,
                                "keymoult is" if backing in peers else "", guide)
            at += bars.height(rows)
    lines = ["Volume bytes moved to a new key per second, nothing else running.", SPREAD]
    return svg.document("Speed of a rotation", "Horizontal bars. " + " ".join(lines), at + 4, svg.wrapped(24, 60, lines) + parts)


def _rotations(place, results):
    return [bars.Bar(label.split(", ", 1)[1], "mine", [rate / 1e9 for rate in ratios.rates(rounds)], "")
            for label, rounds in results.items() if place in label]


def _rotation_peers(backing, place, results, peers):
    mine = next((ratios.rates(rounds) for label, rounds in results.items() if place in label and label.endswith("off")), None)
    rows = []
    for name, rounds in peers.get(backing, {}).items():
        theirs = ratios.rates(rounds)
        ratio = times(statistics.median(mine) / statistics.median(theirs)) if mine else ""
        rows.append(bars.Bar(name, "crypt", [rate / 1e9 for rate in theirs], ratio))
    return rows


def beside(backing, results):
    """Latency of a client without and beside rotations, one panel for each client."""
    parts, at = [], 104
    for job, ways in results.items():
        parts.append(curves.panel(at, CLIENTS.get(job, job), [_way(label, figures) for label, figures in ways.items()]))
        at += curves.HEIGHT
    lines = ["Latency of a client's requests without a rotation and beside one, by percentile; both scales are logarithmic.",
             "Dots are measured, the median of all rounds, lines only join them; 'max' is the slowest request of all."]
    return svg.document("What a client feels of a rotation, backing %s" % PLACES[backing], "Curves. " + " ".join(lines),
                        at + 6, svg.wrapped(24, 60, lines) + parts)


def _way(label, rounds):
    figures = middle(rounds)
    note = ["client %.2f GB/s" % (figures["bytes_per_s"] / 1e9)]
    if "rotation_bytes_per_s" in figures:
        note.append("rotation %.2f GB/s" % (figures["rotation_bytes_per_s"] / 1e9))
    return curves.Curve(label, points(figures), figures["latency_us_max"], note)


def points(figures):
    """The percentiles of a measurement from the median on; three of them in raw figures of older runs."""
    listed = figures.get("latency_us_percentiles")
    if not listed:
        listed = [[50, figures["latency_us_p50"]], [99, figures["latency_us_p99"]], [99.9, figures["latency_us_p999"]]]
    return [(percentile, us) for percentile, us in listed if 50 <= percentile <= 99.99 and us > 0]
