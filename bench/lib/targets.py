"""What the figures say about the targets: pure functions from raw results to verdicts.

A target is reached when enough of its checks are. What the raw results do not hold is "not measured", never guessed. Where
a check rests on several rounds, its figure is the median.
"""

import statistics
from collections import namedtuple

from . import ratios

# `reached` is None where nothing was measured; `margin` is how far the figure lies beyond (or short of) its limit, as a share.
Check = namedtuple("Check", "what figure reached margin note")
# `enough` checks have to be reached; None: all of them.
Target = namedtuple("Target", "text checks enough")

CELLS = ["read-128k", "write-128k", "randread-4k", "randwrite-4k"]
CAP = 0.9
PLACES = {"shm": "memory", "disk": "disk"}
MEMORY, DISK = "memory", "disk"
ROTATION_BESIDE = 200e6
TAIL_US = 20000
COARSE, FINE = 1.004, 1.02


def at_least(what, figure, value, limit, note=""):
    return Check(what, figure, value >= limit, value / limit - 1, note)


def at_most(what, figure, value, limit, note=""):
    return Check(what, figure, value <= limit, 1 - value / limit, note)


def by_rounds(what, values, limit, unit="", note=""):
    """The median of several rounds against a lower limit; says so where some rounds are on the other side of it."""
    if min(values) < limit <= max(values):
        note = "; ".join(filter(None, ["the rounds disagree", note]))
    return at_least(what, ratios.worded(values) + unit, statistics.median(values), limit, note)


def unknown(what, note=""):
    return Check(what, "", None, None, note)


def verdict(target):
    """`reached`, `not reached` or `not measured`, with how many of how many where they differ."""
    known = [check for check in target.checks if check.reached is not None]
    passed, total = sum(check.reached for check in known), len(target.checks)
    enough = total if target.enough is None else target.enough
    if not known:
        return "not measured"
    if passed >= enough:
        return "reached" if passed == total else "reached (%d of %d)" % (passed, total)
    if len(known) - passed > total - enough:
        return "not reached" if total == 1 else "not reached (%d of %d)" % (passed, total)
    return "not measured in full (%d of %d)" % (passed, total)


def worded(check):
    """One check in a line."""
    if check.reached is None:
        return "%s: not measured%s" % (check.what, check.note and "; " + check.note)
    share = "%.1f" % (100 * abs(check.margin)) if abs(check.margin) < 0.1 else "%.0f" % (100 * abs(check.margin))
    result = "reached with %s %% to spare" % share if check.reached else "missed by %s %%" % share
    return "%s: %s, %s%s" % (check.what, check.figure, result, check.note and "; " + check.note)


# One connection, four cells.

def against(servers, cell, group, limit, capped):
    """keymoult ÷ the fastest of a group in one cell; a limit that lies above CAP × our null server is lowered to that."""
    found = ratios.by_round(servers, "keymoult", group)
    if found is None:
        return unknown(cell)
    null = ratios.best(servers, ("keymoult null",)) if capped else None
    if null is None:
        short = capped and statistics.median(found) < limit
        return by_rounds(cell, found, limit, note="unless the cap, which was not measured, lowers the limit" if short else "")
    return under_cap(servers, cell, group, limit, null)


def under_cap(servers, cell, group, limit, null):
    """The same where our null server was measured beside it: each round's limit is the lower of the two."""
    own = ratios.rates(servers["keymoult"])
    wanted = [limit * other for other in ratios.best(servers, group)]
    needed = [min(want, CAP * most) for want, most in zip(wanted, null)]
    binds = sum(need < want for need, want in zip(needed, wanted)) * 2 > len(needed)
    note = "%.2f of our null server" % statistics.median(rate / most for rate, most in zip(own, null))
    shares = [rate / need for rate, need in zip(own, needed)]
    check = by_rounds(cell, shares, 1.0, note=note + (", which caps the limit" if binds else ""))
    return check._replace(figure=ratios.worded(ratios.by_round(servers, "keymoult", group)))


def cell_target(raw, text, backing, group, limit, enough=None, capped=True):
    results = raw["cells"].get(backing, {})
    return Target(text, [against(results.get(cell, {}), cell, group, limit, capped) for cell in CELLS], enough)


def one_connection(raw):
    cap = ", capped at 0.9 × our null server"
    yield cell_target(raw, "encrypted ≥ 1.0 × the fastest plain peer, all four cells in memory" + cap, "shm", ratios.PLAIN, 1.0)
    yield cell_target(raw, "encrypted ≥ 1.3 × the fastest plain peer in three of them" + cap, "shm", ratios.PLAIN, 1.3, 3)
    yield cell_target(raw, "encrypted ≥ 3 × the fastest encrypted peer, all four" + cap, "shm", ratios.ENCRYPTED, 3.0)
    for backing, place in PLACES.items():
        text = "encrypted ≥ 0.9 × our own plaintext suite, " + place
        yield cell_target(raw, text, backing, ("keymoult plain",), 0.9, capped=False)
    yield cell_target(raw, "disk, O_DIRECT: ≥ 0.95 × fio straight on a file", "disk", ("no server",), 0.95, capped=False)


# Rotations of an otherwise idle volume.

def rounds_of(raw, place, verify):
    """The rounds of a rotation by place and verification; empty when it was not measured."""
    return next((rounds for label, rounds in raw["rotation"].items()
                 if place in label.split(",")[0] and label.endswith("verification " + verify)), [])


def speed(rounds, what, limit):
    if not rounds:
        return unknown(what)
    rates = [rate / 1e9 for rate in ratios.rates(rounds)]
    return by_rounds(what, rates, limit, " GB/s")


def rotation_peer(raw, name, limit):
    mine, theirs = rounds_of(raw, MEMORY, "off"), raw.get("rotation_peers", {}).get("shm", {}).get(name)
    if not mine or not theirs:
        return unknown(name)
    ratio = statistics.median(ratios.rates(mine)) / statistics.median(ratios.rates(theirs))
    return at_least(name, "%.1f ×" % ratio, ratio, limit)


def disk_limit(raw, verify):
    """Against what fio alone makes of the same disk in the same run; see `mixed.py`."""
    mine, limits, what = rounds_of(raw, DISK, verify), raw.get("disk_limit", {}).get(verify), "verification " + verify
    if not mine or not limits:
        return unknown(what)
    most = statistics.median(ratios.rates(limits))
    return by_rounds(what, [rate / most for rate in ratios.rates(mine)], 0.85,
                     note="the limit is %s GB/s" % ratios.worded([rate / 1e9 for rate in ratios.rates(limits)]))


def amplification(rounds, what):
    """Against the limit of the volume's granule; where that is not recorded, the 4 KiB limit decides what it can."""
    if not rounds:
        return unknown(what)
    value, granule = statistics.median(figures["write_amplification"] for figures in rounds), rounds[0].get("granule")
    if granule is None and COARSE < value <= FINE:
        return unknown(what, "%.4f, and the granule is not recorded" % value)
    limit = FINE if granule == 512 or (granule is None and value > FINE) else COARSE
    note = "granule %d" % granule if granule else "granule not recorded" if granule is None else "no granule, journal mode"
    # What is judged is the part that is too much: 1.002 is half of what 1.004 allows.
    return at_most(what, "%.4f" % value, value - 1, limit - 1, note)


def flushes(rounds, what):
    """Syncs ext4 received where they were traced, the daemon's own count elsewhere; at most one a batch, all told."""
    if not rounds:
        return unknown(what)
    traced = [figures["traced_syncs"] for figures in rounds if figures["traced_syncs"] is not None]
    count = statistics.median(traced if traced else [figures["flushes"] for figures in rounds])
    batches = statistics.median(figures["batches"] for figures in rounds)
    figure = "%.0f %s in %.0f batches" % (count, "traced on the file" if traced else "by the daemon's count", batches)
    return at_most(what, figure, count, batches)


def rotation(raw):
    fast, full = rounds_of(raw, MEMORY, "off"), rounds_of(raw, MEMORY, "full")
    yield Target("rotation in memory ≥ 2 GB/s", [speed(fast, "verification off", 2.0)], None)
    yield Target("the same with full verification, the default (more than the target asks)", [speed(full, "verification full", 2.0)], None)
    yield Target("stretch: rotation in memory ≥ 3 GB/s", [speed(fast, "verification off", 3.0)], None)
    yield Target("rotation in memory ≥ 7 × cryptsetup's default re-encryption",
                 [rotation_peer(raw, "cryptsetup reencrypt", 7.0)], None)
    yield Target("rotation on disk ≥ 0.85 × the disk's own mixed sequential limit", [disk_limit(raw, "off")], None)
    yield Target("the same with full verification, against a limit that reads twice (more than the target asks)",
                 [disk_limit(raw, "full")], None)
    places = [(place, rounds_of(raw, place, "off")) for place in (MEMORY, DISK)]
    yield Target("write amplification ≤ 1.004 (4 KiB granule), ≤ 1.02 (512 B)", [amplification(r, p) for p, r in places], None)
    yield Target("≤ 1 flush per batch", [flushes(r, p) for p, r in places], None)
    yield Target("no extra flush under an fsync-heavy client", [], None)


# A client beside an adaptive rotation.

def pairs(raw):
    """Every client that ran alone and beside an adaptive rotation: what it is called and both figures (None if it did not)."""
    for backing, place in PLACES.items():
        for job in ("client-randrw-4k", "client-write-128k"):
            ways = raw["beside"].get(backing, {}).get(job, {})
            yield "%s, %s" % (job.removeprefix("client-"), place), ways.get("no rotation"), ways.get("adaptive")


def throughput(what, alone, both):
    ratio = both["bytes_per_s"] / alone["bytes_per_s"]
    return at_least(what, "%.2f ×" % ratio, ratio, 0.85)


def p99(what, alone, both):
    ratio = both["latency_us_p99"] / alone["latency_us_p99"]
    return at_most(what, "%.2f ×" % ratio, ratio, 1.5)


def p999(what, _, both):
    """The 20 ms of the limit; three times the device's flush, where that is more, is not measured."""
    value = both["latency_us_p999"]
    note = "the device's flush, which might allow more, was not measured" if value > TAIL_US else ""
    return at_most(what, "%.1f ms" % (value / 1000), value, TAIL_US, note)


def own_speed(what, _, both):
    rate = both["rotation_bytes_per_s"]
    return at_least(what, "%.0f MB/s" % (rate / 1e6), rate, ROTATION_BESIDE)


def beside(raw):
    for text, judge in (("the rotation makes ≥ 200 MB/s meanwhile", own_speed), ("throughput ≥ 0.85 × without", throughput),
                        ("p99 ≤ 1.5 × without", p99), ("p99.9 ≤ max(20 ms, 3 × the device's flush)", p999)):
        checks = [judge(what, alone, both) if alone and both else unknown(what) for what, alone, both in pairs(raw)]
        yield Target("client beside an adaptive rotation: " + text, checks, None)


ELSEWHERE = [
    "several connections (nbdcopy, fio with four jobs) ≥ 1.2 × the fastest plain peer; no loss from 1 to 64",
    "stretch: XTS in 512-byte units ≥ 9 GB/s a core, in 4 KiB ≥ 11 GB/s",
    "open and census of a sparse 15 TiB volume: warm ≤ 100 ms to serve, ≤ 64 MiB resident beyond the tag table",
    "growth: rate flat from 1 to 64 GiB, 1 to 64 connections, 1 to 16 live generations",
    "system calls, copies and wake-ups per request, beside nbdkit's",
    "idle daemon: no wake-ups, < 20 MiB",
]


def everything(raw):
    """All targets in the order of the issue that set them."""
    measured = [*one_connection(raw), *rotation(raw), *beside(raw)]
    return measured + [Target(text, [], None) for text in ELSEWHERE]
