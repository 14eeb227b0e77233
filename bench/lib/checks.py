"""What a verdict is made of: a check holds one figure against one limit, a target is some checks.

What was not measured is "not measured", never guessed. Where a check rests on several rounds, its figure is the median.
"""

import statistics
from collections import namedtuple

from . import ratios

# `reached` is None where nothing was measured; `margin` is how far the figure lies beyond (or short of) its limit, as a share; None
# where the limit is nothing at all.
Check = namedtuple("Check", "what figure reached margin note")
# `enough` checks have to be reached; None: all of them.
Target = namedtuple("Target", "text checks enough")


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
    return "%s: %s, %s%s" % (check.what, check.figure, _result(check), check.note and "; " + check.note)


def _result(check):
    if check.margin is None:
        return "reached" if check.reached else "missed"
    share = "%.1f" % (100 * abs(check.margin)) if abs(check.margin) < 0.1 else "%.0f" % (100 * abs(check.margin))
    return "reached with %s %% to spare" % share if check.reached else "missed by %s %%" % share
