"""Panels of latency curves: latency over the percentile, both on logarithmic scales, and the slowest request beside them.

The percentile's scale is that of the rest: as far from 99 to 99.9 as from 99.9 to 99.99, so that the tail is what one sees.
"""

import math
from collections import namedtuple

from . import svg

# `points` are (percentile, microseconds), ascending; `worst` is the slowest request in microseconds; `note` stands in the key.
Curve = namedtuple("Curve", "name points worst note")
LEFT, RIGHT, WORST = 78, 580, 632
KEY = 684
HEIGHT = 346
TOP, FLOOR = 34, 284
DASHES = ["", "", "7 3", "2 3"]
MARKS = [50, 90, 99, 99.9, 99.99]


def tail(percentile):
    """Where a percentile lies: how many powers of ten are left above it."""
    return -math.log10(1 - percentile / 100)


def time_worded(us):
    return "%g µs" % us if us < 1000 else "%g ms" % (us / 1000) if us < 1e6 else "%g s" % (us / 1e6)


def scales(curves):
    """Functions from percentile and from microseconds to pixels, the marks of either axis within the panel."""
    shown = [(percentile, us) for curve in curves for percentile, us in curve.points]
    low = 10 ** math.floor(math.log10(max(min(us for _, us in shown), 1)))
    high = 10 ** math.ceil(math.log10(max([curve.worst for curve in curves] + [us for _, us in shown])))
    first, last = tail(50), tail(max(percentile for percentile, _ in shown))
    x = lambda percentile: LEFT + (RIGHT - LEFT) * (tail(percentile) - first) / (last - first)
    y = lambda us: FLOOR - (FLOOR - TOP) * math.log10(max(us, low) / low) / math.log10(high / low)
    decades = [low * 10 ** power for power in range(round(math.log10(high / low)) + 1)]
    return x, y, [mark for mark in MARKS if tail(mark) <= last + 1e-9], decades


def panel(top, heading, curves):
    """The elements of one panel from `top` down, as a shifted group."""
    x, y, marks, decades = scales(curves)
    parts = [svg.text(24, 14, heading, "f-ink head")]
    parts += _grid(x, y, marks, decades)
    for number, curve in enumerate(curves):
        parts.append(_curve(x, y, number, curve))
    parts += _key(curves)
    return svg.element("g", "\n".join(parts), transform="translate(0 %d)" % top)


def _grid(x, y, marks, decades):
    parts = []
    for us in decades:
        parts.append(svg.line(LEFT, y(us), WORST + 22, y(us), "s-faint"))
        parts.append(svg.text(LEFT - 8, y(us) + 4, time_worded(us), "f-soft small", "end"))
    for mark in marks:
        parts.append(svg.line(x(mark), TOP, x(mark), FLOOR, "s-faint"))
        parts.append(svg.text(x(mark), FLOOR + 18, "%g %%" % mark, "f-soft small", "middle"))
    parts.append(svg.text(WORST, FLOOR + 18, "max", "f-soft small", "middle"))
    parts.append(svg.text(LEFT, FLOOR + 36, "this share of the requests took no longer", "f-soft tick"))
    parts.append(svg.line(LEFT, FLOOR, WORST + 22, FLOOR, "s-line"))
    return parts


def _curve(x, y, number, curve):
    points = [(x(percentile), y(us)) for percentile, us in curve.points]
    parts = [svg.element("polyline", points=" ".join("%.1f,%.1f" % point for point in points), cls="s-way%d" % number,
                         stroke_width=2.2, stroke_linejoin="round", stroke_dasharray=DASHES[number] or "none")]
    parts += [_dot(at[0], at[1], number, 2.6) for at in points]
    parts.append(_dot(WORST + 8 * (number - 1.5), y(curve.worst), number, 4))
    said = ", ".join("%g %%: %s" % (percentile, short(us)) for percentile, us in curve.points)
    return svg.group("%s: %s, max: %s" % (curve.name, said, short(curve.worst)), parts)


def _dot(x, y, number, radius):
    return svg.element("circle", cx=float(x), cy=float(y), r=float(radius), cls="f-way%d s-ground" % number, stroke_width=0.8)


def short(us):
    """Three digits are enough for a label."""
    return "%.0f µs" % us if us < 1000 else "%.3g ms" % (us / 1000) if us < 1e6 else "%.3g s" % (us / 1e6)


def _key(curves):
    """The curves by name beside the panel, the one that ends highest first, each with what it cost."""
    parts = []
    order = sorted(range(len(curves)), key=lambda number: -curves[number].points[-1][1])
    for place, number in enumerate(order):
        at = TOP + 10 + place * 62
        parts.append(svg.line(KEY, at - 4, KEY + 26, at - 4, "s-way%d" % number, stroke_width=2.6,
                              stroke_dasharray=DASHES[number] or "none"))
        parts.append(svg.text(KEY + 34, at, curves[number].name, "f-ink strong"))
        parts += svg.wrapped(KEY + 34, at + 17, curves[number].note)
    return parts
