"""What the figures of cells and rotations say about the targets: pure functions from raw results to verdicts.

`targets_wide` has the other parts.
"""

import statistics

from . import ratios, targets_wide
from .beside import rounds
from .checks import Target, at_least, at_most, by_rounds, unknown

CELLS = ["read-128k", "write-128k", "randread-4k", "randwrite-4k"]
CAP = 0.9
OF_PLAIN, OF_BARE = 1.3, 0.95
PLACES = {"shm": "memory", "disk": "disk"}
MEMORY, DISK = "memory", "disk"
ROTATION_BESIDE = 200e6
TAIL_US = 20000
HELD = 1000
COARSE, FINE = 1.004, 1.02


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
    yield cell_target(raw, "encrypted ≥ 1.3 × the fastest plain peer in three of them" + cap, "shm", ratios.PLAIN, OF_PLAIN, 3)
    yield cell_target(raw, "encrypted ≥ 3 × the fastest encrypted peer, all four" + cap, "shm", ratios.ENCRYPTED, 3.0)
    for backing, place in PLACES.items():
        text = "encrypted ≥ 0.9 × our own plaintext suite, " + place
        yield cell_target(raw, text, backing, ("keymoult plain",), 0.9, capped=False)
    yield cell_target(raw, "disk, O_DIRECT: ≥ 0.95 × fio straight on a file", "disk", ("no server",), OF_BARE, capped=False)


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


# A rotation that is faster than the disk's limit by more than noise shows that the limit was none.
NO_LIMIT = 1.2


def disk_limit(raw, verify):
    """Against what fio alone makes of the same disk in the same run; see `mixed.py`."""
    mine, limits, what = rounds_of(raw, DISK, verify), raw.get("disk_limit", {}).get(verify), "verification " + verify
    if not mine or not limits:
        return unknown(what)
    most = statistics.median(ratios.rates(limits))
    note = "the limit is %s GB/s" % ratios.worded([rate / 1e9 for rate in ratios.rates(limits)])
    shares = [rate / most for rate in ratios.rates(mine)]
    if statistics.median(shares) > NO_LIMIT:
        return unknown(what, "fio made %.2f GB/s where the rotation made %s times that: no limit, so nothing is judged by it"
                       % (most / 1e9, ratios.worded(shares)))
    return by_rounds(what, shares, 0.85, note=note)


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
    yield from targets_wide.flushes(raw.get("wide", {}).get("fsync"))


# A client beside an adaptive rotation.

def pairs(raw):
    """Every client that ran alone and beside an adaptive rotation: what it is called and the rounds of both."""
    for backing, place in PLACES.items():
        for job in ("client-randrw-4k", "client-write-128k"):
            ways = raw["beside"].get(backing, {}).get(job, {})
            alone, both = ways.get("no rotation"), ways.get("adaptive")
            yield "%s, %s" % (job.removeprefix("client-"), place), alone and rounds(alone), both and rounds(both)


def by_turn(key, alone, both):
    return [mine[key] / bare[key] for bare, mine in zip(alone, both)]


def no_more_than(what, values, limit, form, note=""):
    """The median of several rounds against an upper limit; says so where some rounds are on the other side of it."""
    if min(values) <= limit < max(values):
        note = "; ".join(filter(None, ["the rounds disagree", note]))
    return at_most(what, ratios.worded(values, form[0]) + form[1], statistics.median(values), limit, note)


def throughput(what, alone, both):
    return by_rounds(what, by_turn("bytes_per_s", alone, both), 0.85, " ×")


def p99(what, alone, both):
    return no_more_than(what, by_turn("latency_us_p99", alone, both), 1.5, ("%.2f", " ×"))


def p999(what, _, both):
    """The 20 ms of the limit; three times the device's flush, where that is more, is not measured."""
    values = [figures["latency_us_p999"] / 1000 for figures in both]
    over = statistics.median(values) * 1000 > TAIL_US
    note = "the device's flush, which might allow more, was not measured" if over else ""
    return no_more_than(what, values, TAIL_US / 1000, ("%.1f", " ms"), note)


def own_speed(what, _, both):
    rates = [figures["rotation_bytes_per_s"] / 1e6 for figures in both]
    return at_least(what, ratios.worded(rates, "%.0f") + " MB/s", statistics.median(rates), ROTATION_BESIDE / 1e6)


def held(what, _, both):
    """The condition of the others: how many times what is held the volume is."""
    if not all("held_bytes" in figures for figures in both):
        return unknown(what, "the bytes held were not recorded")
    times = [figures["volume_bytes"] / figures["held_bytes"] for figures in both]
    return at_least(what, ratios.worded(times, "%.0f") + " ×", statistics.median(times), HELD)


def beside(raw):
    for text, judge in (("the rotation makes ≥ 200 MB/s meanwhile", own_speed), ("throughput ≥ 0.85 × without", throughput),
                        ("p99 ≤ 1.5 × without", p99), ("p99.9 ≤ max(20 ms, 3 × the device's flush)", p999),
                        ("the volume is ≥ 1000 × what is held", held)):
        checks = [judge(what, alone, both) if alone and both else unknown(what) for what, alone, both in pairs(raw)]
        yield Target("client beside an adaptive rotation: " + text, checks, None)


def everything(raw):
    """All targets in the order of the issue that set them."""
    return [*one_connection(raw), *rotation(raw), *beside(raw), *targets_wide.everything(raw.get("wide", {}))]
