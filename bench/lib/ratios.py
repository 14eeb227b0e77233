"""Ratios between servers, taken round by round: of measurements made within a minute, so that the machine's mood cancels."""

import statistics

ENCRYPTED = ("nbdkit luks", "qemu-nbd luks")
PLAIN = ("nbdkit file", "qemu-nbd raw")


def rates(rounds):
    return [figures["bytes_per_s"] for figures in rounds]


def best(servers, group):
    """The rate of the fastest of a group in each round; None when none of it was measured."""
    others = [rates(servers[name]) for name in group if servers.get(name)]
    return [max(turn) for turn in zip(*others)] if others else None


def by_round(servers, mine, group):
    """`mine` ÷ the fastest of `group`, one ratio for each round; None when either was not measured."""
    fastest = best(servers, group)
    if fastest is None or not servers.get(mine):
        return None
    return [own / other for own, other in zip(rates(servers[mine]), fastest)]


def worded(values, form="%.2f"):
    """The median, and the range where there is more than one round."""
    middle = form % statistics.median(values)
    return "%s (%s–%s)" % (middle, form % min(values), form % max(values)) if len(values) > 1 else middle
