"""Tables for the parts beyond the four cells: each function turns what a part returned into Markdown."""

import statistics

from .flushes import extra_per_batch, split
from .multi import by_connections, of_fastest, of_one
from .report import gigabytes, table


def _middle(values):
    """Median, and the range where there is one."""
    middle = "%.2f" % statistics.median(values)
    return "%s (%.2f–%.2f)" % (middle, min(values), max(values)) if len(values) > 1 else middle


def _mib(count):
    return "%.1f" % (count / (1 << 20))


def multi(results):
    """nbdcopy and fio by number of connections, and what keymoult makes of the fastest peer and of one connection."""
    rows, names = [], list(dict.fromkeys(name for _, by in by_connections(results) for peers in by.values() for name in peers))
    for what, by in by_connections(results):
        for number, peers in by.items():
            rates = [_middle([rate / 1e9 for rate in peers[name]]) if name in peers else "–" for name in names]
            rows.append([what, number, *rates, _middle(of_fastest(peers)), _middle(of_one(by, number))])
    head = ["GB/s, %d in flight in all with fio" % results["in_flight"], "connections", *names,
            "keymoult ÷ fastest plain peer", "keymoult ÷ itself with one connection"]
    return table(head, rows)


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
    cases = list(cases.values())
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
    """Idle rotations of two sizes, then the client, each with what ext4 was asked to sync."""
    rows = [["rotation alone, %s GB" % gigabytes(f["bytes_rewritten"]), "–", "–", str(f["batches"]), str(f["flushes"]),
             _dash(f["traced_syncs"])]
            for rounds in results["sizes"].values() for f in rounds]
    for label in ("client alone", "client beside a rotation"):
        f = results[label]
        rows.append([label, "%.0f" % f["client_iops"], str(f["client_flushes"]), _dash(f.get("batches")),
                     _dash(f.get("rotation_flushes")), _dash(f["syncs"])])
    text = table(["on disk", "client IOPS", "client flushes", "batches", "rotation's flushes, own count", "syncs traced on ext4"], rows)
    parts = split(results["sizes"])
    if parts is None:
        return text + "\nSyncs could not be traced here.\n"
    return text + ("\nBetween the two sizes: %.2f syncs for each further batch, and %.0f a rotation whatever it moves. Beside the "
                   "client, which flushes after each write: %.2f a batch beyond its own and the fixed ones.\n"
                   % (*parts, extra_per_batch(results)))


def _dash(count):
    return "–" if count is None else str(count)


def speed(results):
    rows = [[engine] + [_middle([rate / 1e9 for rate in units[unit][way]])
                        for unit in ("4096", "512") for way in ("encrypt", "decrypt")]
            for engine, units in results.items()]
    return table(["AES-256-XTS, one core, GB/s", "4096 encrypt", "4096 decrypt", "512 encrypt", "512 decrypt"], rows)


# In the order of the page: title, table.
TABLES = {
    "multi": ("Many connections, backing in memory", multi),
    "speed": ("The cipher alone", speed),
    "reencrypt": ("Re-encryption beside others", reencrypt),
    "fsync": ("Flushes of a rotation, on disk", flushes),
    "open": ("Opening a sparse volume of 15 TiB", vast),
    "growth": ("Growth, backing in memory", growth),
    "costs": ("What a request costs, backing in memory", costs),
    "idle": ("An idle server", idle),
}


def whole(wide):
    """The tables of all parts that were measured, for the terminal."""
    return "\n".join("### %s\n\n%s" % (title, make(wide[part])) for part, (title, make) in TABLES.items() if wide.get(part))
