"""bench/RESULTS.md: the page a run leaves behind, with its verdicts, tables, plots, commands and the figures of every round."""

import os

from . import appendix, checks, merge, plots, report, report_wide, targets

HEAD = """# Results

Written by `bench/run`; [README.md](README.md) tells how each figure is measured and how to measure it again.
"""
COMMANDS = """## Commands

fio runs the jobs of [jobs/](jobs/) as the README shows. `DIR` is a server's own folder; sizes are bytes.
"""
TARGETS = """## Targets

Verdicts are computed from this run's figures alone. Ratios are taken round by round; the median counts, in brackets are the
lowest and the highest. What is *to spare* or *missed* is a share of the limit. A target with several checks is reached when
all of them are, or as many as it names. Where some rounds are on the other side of the limit, *the rounds disagree*: read
such a verdict as undecided. The client beside a rotation is judged where the volume is at least 1000 times what the rotation
holds at a time; that is two of its batches.
"""


def write(folder, raw):
    """Writes `folder`/RESULTS.md and `folder`/plots."""
    drawn = plots.everything(raw)
    plots.write(os.path.join(folder, "plots"), drawn)
    with open(os.path.join(folder, "RESULTS.md"), "w") as file:
        file.write(page(raw, drawn))


def page(raw, drawn):
    sections = [HEAD, machine(raw), TARGETS, verdicts(raw)]
    for backing, results in raw["cells"].items():
        sections += ["## Four cells, %s\n" % report.WORDS[backing], picture(drawn, "cells-%s.svg" % backing),
                     report.cells(results), report.p99(results), report.cpu(results)]
    if raw["rotation"]:
        sections += ["## Rotation\n", picture(drawn, "rotation.svg"), report.rotations(raw["rotation"])]
        sections += [report.rotation_peers(raw["rotation_peers"])] if raw.get("rotation_peers") else []
        sections += [report.disk_limit(raw["disk_limit"])] if raw.get("disk_limit") else []
    for backing, results in raw["beside"].items():
        sections += ["## A client beside a rotation, %s\n" % report.WORDS[backing], picture(drawn, "beside-%s.svg" % backing),
                     report.beside(results).rstrip() + "\n"]
    for part, (title, make) in report_wide.TABLES.items():
        if raw.get("wide", {}).get(part):
            sections += ["## %s\n" % title, picture(drawn, part + ".svg"), make(raw["wide"][part]).rstrip() + "\n"]
    sections += [COMMANDS, commands(raw), appendix.whole(raw)]
    return "\n".join(sections).rstrip() + "\n"


def machine(raw):
    """On what and with which versions, and the runs that figures are of."""
    m = raw["machine"]
    rows = [["processor", "%s, %d cores, %s" % (m["cpu"], m["cores"], " ".join(m["cpu_flags"]))],
            ["memory", "%s GiB" % m["memory_gib"]], ["kernel", "Linux " + m["kernel"]],
            ["backings", ", ".join("%s: %s" % (plots.PLACES[name], kind) for name, kind in m["backings"].items())],
            ["versions", "<br>".join(m[name] for name in ("fio", "nbdkit", "qemu-nbd", "nbdinfo") if name in m)]]
    return report.table(["", ""], rows) + "\n" + runs(raw)


def runs(raw):
    """Which figures were measured when, with which build."""
    rows = [[run["when"], run["keymoult"], "`%s`" % run["command"], "%.1f" % run["load_before"], ", ".join(of_run(run["figures"]))]
            for run in merge.runs(raw)]
    return report.table(["when", "build", "command", "load before", "figures"], rows)


def of_run(names):
    """Figures by part and backing; `cells/shm/read-128k` is told as `cells in memory`."""
    told = []
    for name in names:
        part, first, *_ = name.split("/")
        words = first if part == "wide" else "rotation" if part == "rotation" else "%s %s" % (part, plots.PLACES.get(first, first))
        if words not in told:
            told.append(words)
    return told


def verdicts(raw):
    rows = [[target.text, "**%s**" % checks.verdict(target), "<br>".join(map(checks.worded, target.checks))]
            for target in targets.everything(raw)]
    return report.table(["target", "verdict", "in figures"], rows)


def picture(drawn, name):
    """A link to a plot, with the plot's own title as its alternative text."""
    if name not in drawn:
        return ""
    title = drawn[name].split('id="title">', 1)[1].split("<", 1)[0]
    return "![%s](plots/%s)\n" % (title, name)


def commands(raw):
    """The servers' command lines as recorded by the run."""
    shown = raw.get("commands", {})
    if not any(shown.values()):
        return "The servers' command lines were not recorded by this run.\n"
    parts = []
    for backing, servers in shown.items():
        lines = ["    %s" % command for command in servers.values()]
        parts.append("Backing %s:\n\n%s\n" % (plots.PLACES[backing], "\n".join(lines)))
    return "\n".join(parts)
