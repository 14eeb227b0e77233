"""Tables for the parts beyond the four cells: each function turns what a part returned into Markdown."""

import statistics

from .flushes import extra_per_batch
from .report import gigabytes, table


def _middle(values):
    """Median, and the range where there is one."""
    middle = "%.2f" % statistics.median(values)
    return "%s (%.2f–%.2f)" % (middle, min(values), max(values)) if len(values) > 1 else middle


def _mib(count):
    return "%.1f" % (count / (1 << 20))


def multi(results):
    """nbdcopy and fio by number of connections, and what keymoult makes of the fastest peer and of one connection."""
    copies = {"nbdcopy, " + way: {number: {peer: list(rates) for peer, rates in peers.items()} for number, peers in by.items()}
              for way, by in results["copy"].items()}
    jobs = {"fio %s" % cell: {number: {peer: [f["bytes_per_s"] for f in rounds] for peer, rounds in peers.items()}
                              for number, peers in by.items()} for cell, by in results["fio"].items()}
    rows = []
    for label, by in {**copies, **jobs}.items():
        one = by["1"]["keymoult"]
        for number, peers in by.items():
            rows.append([label, number] + ["%.2f" % (statistics.median(rates) / 1e9) for rates in peers.values()]
                        + [_of_fastest(peers), _middle([a / b for a, b in zip(peers["keymoult"], one)])])
    names = list(next(iter(results["copy"]["out"].values())))
    head = ["GB/s, %d in flight in all with fio" % results["in_flight"], "connections", *names,
            "keymoult ÷ fastest plain peer, round by round", "keymoult ÷ itself with one connection"]
    return table(head, rows)


def _of_fastest(peers):
    others = [max(turn) for turn in zip(*(rates for name, rates in peers.items() if name != "keymoult"))]
    return _middle([mine / other for mine, other in zip(peers["keymoult"], others)])


def vast(by_backing):
    rows = []
    for backing, results in by_backing.items():
        for size, made in results.items():
            for temper, starts in made["starts"].items():
                rows.append(_vast_row(backing, size, temper, made, starts))
    return table(["backing", "volume, sparse", "page cache", "create ms", "start to serving ms", "resident MiB", "tag table MiB",
                  "resident beyond it MiB", "census, control API ms", "census, nbdinfo --map ms"], rows)


def _vast_row(backing, size, temper, made, starts):
    def ms(key):
        return _middle([figures[key] * 1000 for figures in starts])

    resident = statistics.median(figures["memory"]["VmRSS"] for figures in starts)
    return [backing, size, temper, "%.0f" % (made["create_s"] * 1000), ms("serving_s"), _mib(resident),
            _mib(made["tag_table_bytes"]), _mib(resident - made["tag_table_bytes"]), ms("census_api_s"), ms("census_map_s")]


def growth(cases):
    """Every rate as a ratio to the smallest volume with one generation and the same connections, round by round."""
    base = {(c["connections"], c["cell"]): c for c in reversed(cases) if c["generations"] == 1 and c["gib"] == cases[0]["gib"]}
    rows = []
    for case in cases:
        first = base[case["connections"], case["cell"]]
        ratios = [a["iops"] / b["iops"] for a, b in zip(case["rounds"], first["rounds"])]
        rows.append([case["cell"], str(case["connections"]), str(case["gib"]), str(case["live"]),
                     "%.0f" % (statistics.median(f["iops"] for f in case["rounds"]) / 1000), _middle(ratios)])
    rows.sort(key=lambda row: (row[0], int(row[1]), int(row[2]), int(row[3])))
    return table(["cell", "connections", "GiB", "live generations", "thousand IOPS", "÷ smallest volume, one generation"], rows)


def idle(results):
    rows = []
    for peer, states in results.items():
        for state, f in states.items():
            rows.append([peer, state, str(f["threads"]), "%d in %d s" % (f["cpu_ticks"], f["seconds"]),
                         str(f["voluntary_switches"]), str(f["involuntary_switches"]), _mib(f["memory"]["VmRSS"])])
    return table(["server", "state", "threads", "CPU ticks", "voluntary switches", "involuntary switches", "resident MiB"], rows)


def costs(results):
    """Counts for each request; calls that nobody made in a cell are left out."""
    text = ""
    for cell, peers in results.items():
        names = [name for name in next(iter(peers.values())) if name != "requests"
                 and any((figures[name] or 0) >= 0.005 for figures in peers.values())]
        rows = [[peer] + ["–" if figures[name] is None else "%.2f" % figures[name] for name in names]
                for peer, figures in peers.items()]
        text += table(["%s, per request" % cell] + [name.replace("server_cpu_us", "server CPU µs") for name in names], rows) + "\n"
    return text


def reencrypt(results):
    mine = results["keymoult"]
    rows = [[way, _middle([rate / 1e9 for rate in rates]), _middle([a / b for a, b in zip(mine, rates)])]
            for way, rates in results.items()]
    return table(["re-encryption in memory", "GB/s", "keymoult ÷ it, round by round"], rows)


def flushes(results):
    rows = []
    for label, f in results.items():
        rows.append([label] + ["–" if f.get(key) is None else "%.0f" % f[key]
                               for key in ("client_iops", "client_flushes", "batches", "rotation_flushes", "syncs")]
                    + [gigabytes(f.get("bytes_rewritten", 0))])
    extra = extra_per_batch(results)
    text = table(["a client that flushes after each write", "client IOPS", "client flushes", "batches",
                  "rotation's flushes, own count", "syncs traced on ext4", "GB rewritten"], rows)
    return text + "\nExtra syncs per batch beside the client: %s.\n" % ("not traced here" if extra is None else "%.2f" % extra)


TABLES = {
    "multi": ("Many connections, backing in memory", multi),
    "open": ("Opening a volume of 15 TiB", vast),
    "growth": ("Growth, backing in memory", growth),
    "idle": ("An idle server", idle),
    "costs": ("What a request costs, backing in memory", costs),
    "reencrypt": ("Re-encryption beside others", reencrypt),
    "fsync": ("Flushes of a rotation beside a client, on disk", flushes),
}


def whole(wide):
    """The tables of all parts that were measured."""
    return "\n".join("### %s\n\n%s" % (title, make(wide[part])) for part, (title, make) in TABLES.items() if wide.get(part))
