"""Small panels of lines over a few steps (connections, GiB): medians joined, whiskers over the rounds, limits as dashes.

Steps are as far from each other as the next, whatever they count. The figures' axis begins at nothing, so that a loss looks
as large as it is.
"""

import statistics
from collections import namedtuple

from . import svg
from .bars import nice

# `rounds` are {step: figures of the rounds}; `kind` is a colour class of svg.py; `limits` are {step: figure}.
Line = namedtuple("Line", "name kind rounds limits")
WIDTH, HEIGHT = 398, 214
LEFT, RIGHT, TOP, FLOOR = 46, 382, 30, 170
COLUMNS = (24, 438)
DASHES = {"plain": "7 3", "crypt": "2 3", "way3": "2 3"}


def grid(y, panels):
    """Panels two by two from `y` down: their elements, and where they end."""
    parts = []
    for number, inner in enumerate(panels):
        parts.append(svg.element("g", "\n".join(inner), transform="translate(%d %d)" % (COLUMNS[number % 2], y + number // 2 * HEIGHT)))
    return parts, y + (len(panels) + 1) // 2 * HEIGHT


def panel(heading, unit, steps, lines, show="{:g}".format):
    """The elements of one panel, its corner at 0, 0. `steps` are in their order; `unit` names what they count."""
    shown = [figure for line in lines for figures in [*line.rounds.values(), line.limits.values()] for figure in figures]
    top = max(shown) * 1.06
    x = {step: LEFT + (RIGHT - LEFT) * (number + 0.5) / len(steps) for number, step in enumerate(steps)}
    y = lambda figure: FLOOR - (FLOOR - TOP) * figure / top
    parts = [svg.text(0, 14, heading, "f-ink head"), *_scale(y, top, show)]
    for step in steps:
        parts.append(svg.text(x[step], FLOOR + 16, "%g" % step, "f-soft tick", "middle"))
    parts.append(svg.text(RIGHT, FLOOR + 31, unit, "f-soft tick", "end"))
    for number, line in enumerate(lines):
        parts.append(_line(x, y, line, 4 * (number - (len(lines) - 1) / 2), show))
    return parts


def _scale(y, top, show):
    step, parts = nice(top), []
    for number in range(int(top / step) + 1):
        at = y(step * number)
        parts.append(svg.line(LEFT, at, RIGHT, at, "s-faint" if number else "s-line"))
        parts.append(svg.text(LEFT - 6, at + 4, show(step * number) if number else "0", "f-soft tick", "end"))
    return parts


def _line(x, y, line, aside, show):
    """One line. `aside` moves it a little, so that whiskers do not hide each other."""
    middles = {step: statistics.median(figures) for step, figures in line.rounds.items()}
    points = " ".join("%.1f,%.1f" % (x[step] + aside, y(middle)) for step, middle in middles.items())
    parts = [svg.element("polyline", points=points, cls="s-" + line.kind, stroke_width=2.2, stroke_linejoin="round",
                         stroke_dasharray=DASHES.get(line.kind, "none"))]
    for step, middle in middles.items():
        low, high, at = y(min(line.rounds[step])), y(max(line.rounds[step])), x[step] + aside
        parts.append(svg.line(at, low, at, high, "s-" + line.kind, stroke_width=1.2))
        parts.append(svg.element("circle", cx=float(at), cy=float(y(middle)), r=3.2, cls="f-%s s-ground" % line.kind, stroke_width=0.8))
    for step, limit in line.limits.items():
        parts.append(svg.line(x[step] - 22, y(limit), x[step] + 22, y(limit), "s-limitline", stroke_width=1.8, stroke_dasharray="4 2"))
    said = ", ".join("%g: %s" % (step, show(middle)) for step, middle in middles.items())
    return svg.group("%s: %s" % (line.name, said), parts)


def key(y, entries, limit=""):
    """Lines by name and kind in a row, and what the dashes across mean."""
    parts, x = [], 24
    for name, kind in entries:
        parts.append(svg.line(x, y - 4, x + 24, y - 4, "s-" + kind, stroke_width=2.4, stroke_dasharray=DASHES.get(kind, "none")))
        parts.append(svg.text(x + 30, y, name, "f-soft small"))
        x += 54 + 6.6 * len(name)
    if limit:
        parts.append(svg.line(x, y - 4, x + 24, y - 4, "s-limitline", stroke_width=1.8, stroke_dasharray="4 2"))
        parts.append(svg.text(x + 30, y, limit, "f-soft small"))
    return parts
