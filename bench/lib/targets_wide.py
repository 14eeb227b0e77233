"""What the figures of the parts beyond cells and rotations say about the targets: pure functions from a part's results to checks."""

import statistics

from . import flushes as counted
from . import growth as grown
from .checks import Check, Target, at_least, at_most, by_rounds, unknown
from .multi import by_connections, of_fastest, of_null, of_one
from .ratios import worded

FASTER = 1.2
# "No loss" and "flat" allow for what a measurement of a second or two is off by.
NO_LOSS, FLAT = 0.95, 0.9
SERVING_SECONDS, BEYOND_TABLE = 0.1, 64 << 20
IDLE_BYTES = 20 << 20
EXTRA_FLUSHES = 0.1
CAP = 0.9
XTS = {"512": 9.0, "4096": 11.0}
COSTS = ["system calls", "context switches", "wake-ups given"]
FEW = 0.005


# Several connections.

def kept(what, by):
    """The number of connections that loses most against one; of less than NO_LOSS, CAP of our null server is enough."""
    worst = min((number for number in by if number != "1"), key=lambda number: statistics.median(of_one(by, number)))
    kept, of_most = of_one(by, worst), of_null(by, worst)
    if not of_most:
        return by_rounds(what, kept, NO_LOSS, " × with %s connections" % worst)
    figure = "%s × with %s connections" % (worded(kept), worst)
    margins = [max(one / NO_LOSS, most / CAP) for one, most in zip(kept, of_most)]
    note = "%.2f of our null server with as many" % statistics.median(of_most)
    if min(margins) < 1 <= max(margins):
        note = "the rounds disagree; " + note
    return at_least(what, figure, statistics.median(margins), 1.0, note)


def many(results):
    done = list(by_connections(results)) if results else []
    yield Target("four connections (nbdcopy, fio with four jobs) ≥ 1.2 × the fastest plain peer",
                 [by_rounds(what, of_fastest(by["4"]), FASTER) for what, by in done], None)
    yield Target("no loss from 1 to 64 connections: ≥ 0.95 × one connection, or 0.9 × our null server with as many",
                 [kept(what, by) for what, by in done], None)


# The rotation's flushes.

def flushes(results):
    """On disk; the fixed syncs of a rotation are reported and not counted against the batches."""
    parts = counted.split(results["sizes"]) if results else None
    each = extra = []
    if results and parts is None:
        each = extra = [unknown("disk", "syncs cannot be traced here")]
    elif results:
        note = "and %.0f syncs a rotation, whatever its size" % parts[1]
        each = [at_most("disk", "%.2f syncs on ext4 for each further batch" % parts[0], parts[0], 1.0, note)]
        more, both = counted.extra_per_batch(results), results["client beside a rotation"]
        note = "the daemon counts %d flushes of its own in %d batches" % (both["rotation_flushes"], both["batches"])
        extra = [at_most("disk", "%.2f a batch" % more, more, EXTRA_FLUSHES, note)]
    yield Target("≤ 1 flush per batch (between rotations of two sizes)", each, None)
    yield Target("no extra flush under an fsync-heavy client (≤ 0.1 a batch beyond the client's)", extra, None)


# Speed of the cipher.

def cipher(results):
    """The fastest engine; of both directions the slower."""
    checks = []
    for unit, limit in XTS.items():
        rounds = {engine: [min(pair) / 1e9 for pair in zip(units[unit]["encrypt"], units[unit]["decrypt"])]
                  for engine, units in (results or {}).items()}
        if rounds:
            best = max(rounds, key=lambda engine: statistics.median(rounds[engine]))
            checks.append(by_rounds("%s bytes, %s" % (unit, best), rounds[best], limit, " GB/s"))
    yield Target("stretch: XTS in 512-byte units ≥ 9 GB/s a core, in 4 KiB ≥ 11 GB/s", checks, None)


# A volume of 15 TiB.

def _serving(what, made, rounds):
    """Where the device's rate was measured, reading the tags at that rate is allowed beyond the limit."""
    slow = statistics.median(1000 * start["serving_s"] for start in rounds)
    census = "census %s ms" % worded([1000 * start["census_api_s"] for start in rounds], "%.0f")
    figure = worded([1000 * start["serving_s"] for start in rounds], "%.0f") + " ms"
    limit = 1000 * SERVING_SECONDS
    if "device_bytes_per_s" in made:
        reading = 1000 * made["tag_table_bytes"] / statistics.median(made["device_bytes_per_s"])
        census += "; to read the tags takes fio %.0f ms" % reading
        limit += reading
    return at_most(what, figure, slow, limit, census)


def vast(results):
    serving, memory = [], []
    for backing, sizes in (results or {}).items():
        made = sizes["15 TiB"]
        starts = made["starts"]["warm"]
        for temper, rounds in made["starts"].items():
            serving.append(_serving("%s, %s" % (backing, temper), made, rounds))
        for when, key in (("serving", "memory"), ("after a census", "memory_after_census")):
            beyond = statistics.median(start[key]["VmRSS"] for start in starts) - made["tag_table_bytes"]
            memory.append(at_most("%s, %s" % (backing, when), "%.0f MiB" % (beyond / (1 << 20)), beyond, BEYOND_TABLE))
    yield Target("sparse 15 TiB volume: ≤ 100 ms to serving, and where tags come from the device (O_DIRECT, so warm or cold) "
                 "their bytes ÷ its rate more", serving, None)
    yield Target("the same: ≤ 64 MiB resident beyond the tag table", memory, None)


# Growth.

def growth(results):
    checks = []
    for cell in grown.CELLS if results else []:
        for axis, words in grown.AXES.items():
            near, far, ratios = grown.along(results, axis, cell)
            checks.append(by_rounds("%s, %d → %d %s" % (cell, near, far, words), ratios, FLAT))
    yield Target("growth: rate flat (≥ 0.9) from 1 to 64 GiB, 1 to 64 connections, 1 to 16 live generations", checks, None)


# What a request costs, and what nobody's requests cost.

def costs(results):
    """keymoult against nbdkit's file plugin, which encrypts nothing."""
    checks = []
    for cell, peers in (results or {}).items():
        mine, theirs = peers["keymoult"], peers["nbdkit file"]
        for name in COSTS:
            if mine[name] is None or theirs[name] is None:
                checks.append(unknown("%s, %s" % (cell, name)))
            else:
                checks.append(cost(cell, name, mine[name], theirs[name]))
    yield Target("system calls, context switches and wake-ups per request ≤ those of nbdkit file, which encrypts nothing "
                 "(copies: NOTES.md)", checks, None)


def cost(cell, name, mine, theirs):
    figure = "%.2f beside %.2f" % (mine, theirs)
    if theirs < FEW:
        return Check("%s, %s" % (cell, name), figure, mine < FEW, None, "")
    return at_most("%s, %s" % (cell, name), figure, mine, theirs)


def idle(results):
    checks = []
    for state, f in (results or {}).get("keymoult", {}).items():
        awake = f["voluntary_switches"] + f["involuntary_switches"]
        figure = "%d context switches, %d CPU ticks in %d s" % (awake, f["cpu_ticks"], f["seconds"])
        checks.append(Check(state, figure, not awake and not f["cpu_ticks"], None, ""))
        size = f["memory"]["VmRSS"]
        checks.append(at_most(state, "%.1f MiB resident" % (size / (1 << 20)), size, IDLE_BYTES))
    yield Target("idle daemon: no wake-ups, < 20 MiB", checks, None)


def everything(wide):
    """All targets of these parts but the rotation's flushes, which stand among the rotation's."""
    for name, judge in (("multi", many), ("speed", cipher), ("open", vast), ("growth", growth), ("costs", costs), ("idle", idle)):
        yield from judge(wide.get(name))
