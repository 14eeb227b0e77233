"""Panels of horizontal bars: the median as the bar, a whisker from the slowest to the fastest round, figures in columns."""

import math
import statistics
from collections import namedtuple

from . import svg

# `values` are one figure per round; `kind` is a colour class of svg.py; `ratio` is a text or empty.
Bar = namedtuple("Bar", "name kind values ratio")
ROW, BAR = 22, 14
LEFT, RIGHT = 160, 660
VALUE, RATIO = 748, 836
KINDS = [("mine", "keymoult"), ("bare", "keymoult without encryption"), ("plain", "plain peers"), ("crypt", "encrypted peers"),
         ("limit", "limits: no data behind it, or no server")]


def height(bars):
    """What a panel of so many bars takes, its heading and scale included."""
    return 40 + ROW * len(bars) + 30


def nice(top):
    """A round step that divides 0 … top into three to six parts."""
    rough = top / 4
    power = 10 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= rough)


def panel(y, heading, unit, bars, show, ratio_head="", guide=None, scale="{:g}".format):
    """The elements of one panel from `y` down. `show` and `scale` word a figure; `guide` is (figure, label) of a line across."""
    top = max([max(bar.values) for bar in bars] + ([guide[0]] if guide else [])) * 1.04
    x = lambda figure: LEFT + (RIGHT - LEFT) * figure / top
    first, last = y + 34, y + 34 + ROW * len(bars)
    several = max(len(bar.values) for bar in bars) > 1
    parts = [svg.text(24, y + 14, heading, "f-ink head"),
             svg.text(VALUE, y + 14, "median, " + unit if several else unit, "f-soft small", "end"),
             svg.text(RATIO, y + 14, ratio_head, "f-soft small", "end")]
    parts += _scale(x, top, first, last, unit, scale)
    if guide:
        parts.append(svg.line(x(guide[0]), first - 6, x(guide[0]), last, "s-limitline", stroke_dasharray="4 2", stroke_width=1.8))
        # Where the words would reach into the column of figures they end at the line.
        parts.append(svg.text(x(guide[0]), first - 10, guide[1], "f-limitline tick", "end" if x(guide[0]) > RIGHT - 60 else "middle"))
    for number, bar in enumerate(bars):
        parts.append(_bar(x, first + ROW * number, bar, show, unit))
    parts.append(svg.line(LEFT, first - 4, LEFT, last, "s-line"))
    return parts


def _scale(x, top, first, last, unit, show):
    step, parts = nice(top), []
    for number in range(int(top / step) + 1):
        at = x(step * number)
        if number:
            parts.append(svg.line(at, first - 4, at, last, "s-faint"))
        parts.append(svg.text(at, last + 14, show(step * number) if number else "0", "f-soft tick", "middle"))
    parts.append(svg.text(LEFT - 10, last + 14, unit, "f-soft tick", "end"))
    return parts


def _bar(x, y, bar, show, unit):
    middle = statistics.median(bar.values)
    weight = " strong" if bar.kind == "mine" else ""
    edge = {"stroke_dasharray": "3 2"} if bar.kind == "limit" else {}
    parts = [
        svg.text(LEFT - 10, y + 12, bar.name, "f-ink" + weight, "end"),
        svg.rect(LEFT, y + 1, x(middle) - LEFT, BAR, "f-%s s-%s" % (bar.kind, "soft" if edge else bar.kind), rx=1.5, **edge),
        *_whisker(x, y + 1 + BAR / 2, bar.values),
        svg.text(VALUE, y + 12, show(middle), "f-ink" + weight, "end"),
        svg.text(RATIO, y + 12, bar.ratio, "f-soft", "end"),
    ]
    rounds = "; rounds: " + ", ".join(show(value) for value in bar.values) if len(bar.values) > 1 else ""
    return svg.group("%s: %s %s%s" % (bar.name, show(middle), unit, rounds), parts)


def _whisker(x, y, values):
    """From the slowest to the fastest round, with a light edge that keeps it visible on any bar."""
    if len(values) < 2:
        return []
    low, high = x(min(values)), x(max(values))
    path = "M%.1f %.1fH%.1fM%.1f %.1fV%.1fM%.1f %.1fV%.1f" % (low, y, high, low, y - 4, y + 4, high, y - 4, y + 4)
    return [svg.element("path", d=path, cls="s-ground", stroke_width=4, stroke_linecap="round"),
            svg.element("path", d=path, cls="s-ink", stroke_width=1.5)]


def legend(y, kinds):
    """The kinds that occur, in a row."""
    parts, x = [], 24
    for kind, words in KINDS:
        if kind in kinds:
            edge = {"stroke_dasharray": "3 2"} if kind == "limit" else {}
            parts.append(svg.rect(x, y - 10, 12, 12, "f-%s s-%s" % (kind, "soft" if edge else kind), rx=1.5, **edge))
            parts.append(svg.text(x + 18, y, words, "f-soft small"))
            x += 40 + 6.5 * len(words)
    return parts
