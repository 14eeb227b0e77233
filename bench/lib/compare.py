"""Two builds in turn over the four cells and a rotation, and the verdict on their ratios."""

import os
import statistics

from . import fio
from .cells import CELLS
from .peers import Keymoult, fill
from .process import say
from .rotation import rotate_once


def build(folder, label, program, size):
    """A volume of its own for one program."""
    own = os.path.join(folder, label)
    os.makedirs(own)
    kind = type("Build", (Keymoult,), {"program": program})
    return kind(own, size, False)


def both(folder, programs, size, seconds, rounds):
    """{what: ([A's rate of each round], [B's])}. Every other round starts with B."""
    pair = [build(folder, label, program, size) for label, program in zip("ab", programs)]
    for peer in pair:
        fill(peer)
    results = {name: ([], []) for name in [*CELLS, "rotation"]}
    for turn in range(rounds):
        for name, rates in results.items():
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                rates[side].append(_rate(pair[side], name, size, seconds))
        say("  round %d of %d done" % (turn + 1, rounds))
    return results


def _rate(peer, name, size, seconds):
    with peer:
        if name == "rotation":
            return rotate_once(peer, "off")["bytes_per_s"]
        return fio.measure(name, fio.target_of_socket(peer.socket, peer.export), size, seconds)["bytes_per_s"]


def ratios(found):
    return [b / a for a, b in zip(*found)]


def _short(value):
    return "%.2f G" % (value / 1e9) if value >= 1e9 else "%.2f M" % (value / 1e6) if value >= 1e6 else "%.0f" % value


def row(name, found):
    """Medians of both, and of the ratio with its range."""
    each = ratios(found)
    return [name, _short(statistics.median(found[0])), _short(statistics.median(found[1])),
            "%.3f (%.3f–%.3f)" % (statistics.median(each), min(each), max(each))]


def worse(results, tolerance, more_is_worse=False):
    """What is worse in the median by more than is tolerated; nothing without a tolerance."""
    if tolerance is None:
        return []
    middles = {name: statistics.median(ratios(found)) for name, found in results.items()}
    return [name for name, middle in middles.items()
            if (middle > 1 + tolerance if more_is_worse else middle < 1 - tolerance)]
