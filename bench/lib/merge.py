"""Figures of several runs in one raw result: a part that is measured again replaces its older figures and no others.

`runs` lists the runs that figures are left of, oldest first, each with the names of its figures (`cells/shm/read-128k`,
`wide/multi`). What ratios are taken within, such as all servers of a cell, is one figure and never mixed.
"""

# What has to be the same for figures to stand beside each other.
SAME = ("cpu", "cpu_flags", "cores", "kernel")
# How deep in the raw results a figure lies below its part.
DEPTH = {"cells": 2, "rotation": 1, "beside": 2, "wide": 1}


def names(raw):
    """The names of all figures in a raw result, in its order."""
    return ["/".join([part, *keys]) for part, depth in DEPTH.items() for keys in _keys(raw.get(part, {}), depth)]


def _keys(tree, depth):
    if depth == 0:
        return [()]
    return [(key, *rest) for key, below in tree.items() for rest in _keys(below, depth - 1)]


def as_run(raw):
    """The one run that a fresh raw result is."""
    return {"when": raw["when"], "command": raw["command"], "keymoult": raw["machine"].get("keymoult", "unknown"),
            "load_before": raw["machine"]["load_before"], "figures": names(raw)}


def runs(raw):
    """The runs that figures are left of; one for a raw result from before there were several."""
    return raw.get("runs") or [as_run(raw)]


def into(old, new, more=False):
    """`old` with the figures of `new` in place of its own of the same name, or with `more` as further rounds of them.

    Refuses figures of another machine.
    """
    differing = [key for key in SAME if old["machine"].get(key) != new["machine"].get(key)]
    if differing:
        raise SystemExit("bench: the earlier figures were taken on another machine (%s); start a new file" % ", ".join(differing))
    fresh = [] if more else names(new)
    kept = [dict(run, figures=[name for name in run["figures"] if name not in fresh]) for run in runs(old)]
    merged = dict({**old, **new}, runs=[run for run in kept if run["figures"]] + [as_run(new)])
    for part, depth in DEPTH.items():
        merged[part] = _overlaid(old.get(part, {}), new.get(part, {}), depth, more)
    merged["commands"] = {backing: {**old.get("commands", {}).get(backing, {}), **new.get("commands", {}).get(backing, {})}
                          for backing in {**old.get("commands", {}), **new.get("commands", {})}}
    return merged


def _overlaid(old, new, depth, more):
    if depth == 0:
        return _joined(old, new) if more else new
    return {key: _overlaid(old[key], new[key], depth - 1, more) if key in old and key in new else new.get(key, old.get(key))
            for key in {**old, **new}}


def _joined(old, new):
    """Rounds are lists, and follow each other; of what is not measured in rounds the newer stays."""
    if isinstance(old, list):
        return old + new
    if isinstance(old, dict):
        return {key: _joined(old[key], new[key]) if key in old and key in new else new.get(key, old.get(key))
                for key in {**old, **new}}
    return new
