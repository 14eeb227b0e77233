"""The plots of the parts beyond cells and rotations: each function turns what a part returned into a file's content."""

import statistics

from . import bars, lines, svg
from .growth import CELLS as GROWN
from .multi import NULL, by_connections
from .targets_wide import BEYOND_TABLE, FASTER, FLAT, SERVING_SECONDS, XTS

WORDS = {"nbdcopy out": "nbdcopy, out of the volume", "nbdcopy in": "nbdcopy, into the volume",
         "fio read-128k": "Sequential read, 128 KiB", "fio write-128k": "Sequential write, 128 KiB",
         "fio randread-4k": "Random read, 4 KiB", "fio randwrite-4k": "Random write, 4 KiB",
         "randread-4k": "Random read, 4 KiB", "randwrite-4k": "Random write, 4 KiB"}
SPREAD = "Dots are medians, whiskers reach from the slowest to the fastest round."
KINDS = {"keymoult": "mine", "nbdkit file": "plain", "qemu-nbd raw": "crypt", "keymoult null": "bare"}
CROWDS = {1: "way1", 8: "way2", 64: "way3"}


def multi(results):
    """A panel for each way to use many connections."""
    panels = []
    for what, by in by_connections(results):
        steps = [int(number) for number in by]
        peers = {name: {int(number): [rate / 1e9 for rate in by[number][name]] for number in by} for name in next(iter(by.values()))}
        fastest = max((statistics.median(by["4"][name]) for name in peers if name not in ("keymoult", NULL)), default=0) / 1e9
        drawn = [lines.Line(name, KINDS[name], rounds, {4: FASTER * fastest} if name == "keymoult" else {})
                 for name, rounds in peers.items()]
        panels.append(lines.panel(WORDS.get(what, what) + ", GB/s", "connections", steps, drawn))
    said = ["Throughput by number of connections, backing in memory; fio shares %d requests in flight among them."
            % results["in_flight"], SPREAD]
    parts, end = lines.grid(136, panels)
    key = lines.key(104, [("keymoult, encrypted", "mine"), ("nbdkit file", "plain"), ("qemu-nbd raw", "crypt"), ("keymoult null", "bare")],
                    "target: 1.2 × the fastest plain peer")
    return svg.document("Many connections", "Lines. " + " ".join(said), end + 4, svg.wrapped(24, 60, said) + key + parts)


def growth(results):
    """A panel for each cell and axis, a line for each number of connections."""
    axes = (("gib", "generations", "GiB, one generation"), ("generations", "gib", "live generations, smallest volume"))
    panels = [_grown(results, cell, axis, other, words) for cell in GROWN for axis, other, words in axes]
    said = ["Thousand IOPS over the same part of sparse volumes, backing in memory; 64 requests in flight in all.", SPREAD]
    parts, end = lines.grid(136, panels)
    numbers = sorted({case["connections"] for case in results.values()})
    key = lines.key(104, [("%d connection%s" % (number, "s" * (number > 1)), CROWDS[number]) for number in numbers],
                    "limit: 0.9 × the first")
    return svg.document("Growth of volumes, generations and connections", "Lines. " + " ".join(said), end + 4,
                        svg.wrapped(24, 60, said) + key + parts)


def _grown(results, cell, axis, other, words):
    least = min(case[other] for case in results.values())
    mine = [case for case in results.values() if case["cell"] == cell and case[other] == least]
    steps = sorted({case[axis] for case in mine})
    drawn = []
    for number in sorted({case["connections"] for case in mine}):
        rounds = {case[axis]: [f["iops"] / 1000 for f in case["rounds"]] for case in mine if case["connections"] == number}
        rounds = {step: rounds[step] for step in steps if step in rounds}
        limits = {step: FLAT * statistics.median(rounds[steps[0]]) for step in steps[1:] if step in rounds}
        drawn.append(lines.Line("%d connections" % number, CROWDS[number], rounds, limits))
    return lines.panel(WORDS[cell], words, steps, drawn)


def speed(results):
    """A panel for each data unit, its engines both ways."""
    parts, at = [], 92
    for unit, limit in sorted(XTS.items(), reverse=True, key=lambda pair: int(pair[0])):
        rows = [bars.Bar("%s, %s" % (engine, way), "mine" if way == "encrypt" else "bare", [rate / 1e9 for rate in units[unit][way]], "")
                for engine, units in results.items() for way in ("encrypt", "decrypt")]
        parts += bars.panel(at, "Data units of %s bytes" % unit, "GB/s", rows, "{:.1f}".format, "", (limit, "target %g" % limit))
        at += bars.height(rows)
    said = ["AES-256-XTS on one core, data in its cache (keymoult speed). " + "Bars are medians, whiskers the rounds."]
    return svg.document("Speed of the cipher engines", "Horizontal bars. " + said[0], at + 4, svg.wrapped(24, 60, said) + parts)


def vast(results):
    """Start to serving, and what stays in memory beyond the tag table."""
    starts = [("%s, %s" % (size, "memory" if backing == "shm" else "disk " + temper), made, rounds)
              for backing, sizes in results.items() for size, made in sizes.items() for temper, rounds in made["starts"].items()]
    kind = lambda name: "mine" if name.startswith("15") else "plain"
    serving = [bars.Bar(name, kind(name), [1000 * f["serving_s"] for f in rounds], "") for name, _, rounds in starts]
    beyond = [bars.Bar(name, kind(name), [(f["memory"]["VmRSS"] - made["tag_table_bytes"]) / (1 << 20) for f in rounds], "")
              for name, made, rounds in starts]
    census = [bars.Bar(name, kind(name), [1000 * f["census_api_s"] for f in rounds], "") for name, _, rounds in starts]
    parts, at = [], 92
    for heading, unit, rows, guide in (
            ("Start to the first NBD greeting", "ms", serving, (1000 * SERVING_SECONDS, "target 100 ms, and reading the tags")),
            ("Resident memory beyond the tag table", "MiB", beyond, (BEYOND_TABLE / (1 << 20), "target 64 MiB")),
            ("Census over the control API", "ms", census, None)):
        parts += bars.panel(at, heading, unit, rows, "{:.0f}".format, "", guide)
        at += bars.height(rows)
    said = ["Sparse volumes; warm and cold tell of the page cache. Bars are medians, whiskers reach over the rounds."]
    return svg.document("Opening a volume of 15 TiB", "Horizontal bars. " + said[0], at + 4, svg.wrapped(24, 60, said) + parts)


def costs(results):
    """A panel for each kind of cost, keymoult and nbdkit's plain server in every cell; nbdkit's LUKS filter would dwarf both."""
    parts, at = [], 106
    for name, words in (("system calls", "System calls"), ("context switches", "Context switches"),
                        ("wake-ups given", "Wake-ups given"), ("server_cpu_us", "Server CPU, µs")):
        rows = [bars.Bar("%s %s" % (peer, cell.split("-")[0]), kind, [peers[peer][name]], "")
                for cell, peers in results.items() for peer, kind in (("keymoult", "mine"), ("nbdkit file", "plain"))
                if peers.get(peer, {}).get(name) is not None]
        if rows and max(row.values[0] for row in rows) > 0:
            parts += bars.panel(at, words, "a request", rows, "{:.2f}".format)
            at += bars.height(rows)
    said = ["One connection, backing in memory: 128 KiB for read and write, 4 KiB for the random cells.",
            "keymoult encrypts, nbdkit does not."]
    return svg.document("What a request costs", "Horizontal bars. " + " ".join(said), at + 4, svg.wrapped(24, 60, said) + parts)


PLOTS = {"multi": multi, "speed": speed, "open": vast, "growth": growth, "costs": costs}


def everything(wide):
    return {part + ".svg": draw(wide[part]) for part, draw in PLOTS.items() if wide.get(part)}
