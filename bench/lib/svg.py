"""Hand-made SVG: the few elements the plots need, one set of colours for light and for dark, and the page around them.

Colours are classes, so that a viewer who prefers dark gets dark; the plot has a ground of its own, so that it stays legible
on any page. Kinds differ in lightness as well as in hue, and every bar and curve carries its name.
"""

from xml.sax.saxutils import escape

WIDTH = 860
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"

# Class: (light, dark). Filled shapes take `f-NAME`, lines take `s-NAME`.
COLOURS = {
    "ground": ("#ffffff", "#14181d"),
    "ink": ("#1b2127", "#e8ebee"),
    "soft": ("#5a6570", "#a3adb7"),
    "faint": ("#e3e7eb", "#2b323a"),
    "line": ("#b9c1c9", "#4a545e"),
    "mine": ("#0b5cad", "#5aaeff"),
    "bare": ("#8fbce8", "#2f6fae"),
    "plain": ("#9aa3ac", "#7d8791"),
    "crypt": ("#c4561f", "#f0884e"),
    "limit": ("#eef1f3", "#20262d"),
    "limitline": ("#a8327f", "#e883c4"),
    "way0": ("#5a6570", "#a3adb7"),
    "way1": ("#0b5cad", "#5aaeff"),
    "way2": ("#0d8a6a", "#3fcfa6"),
    "way3": ("#c4561f", "#f0884e"),
}


def _rules(which):
    return "".join(".f-%s{fill:%s}.s-%s{stroke:%s}" % (name, pair[which], name, pair[which]) for name, pair in COLOURS.items())


STYLE = (
    "text{font-family:%s;font-size:13px;font-variant-numeric:tabular-nums}"
    ".title{font-size:18px;font-weight:600}.head{font-size:14px;font-weight:600}.strong{font-weight:600}"
    ".small{font-size:12px}.tick{font-size:11px}path,line,polyline{fill:none}"
    "%s@media (prefers-color-scheme:dark){%s}" % (FONT, _rules(0), _rules(1)))


def element(name, inner=None, **attributes):
    """One element. `cls` is the class; underscores in names become dashes; floats are cut to a tenth of a pixel."""
    written = []
    for key, value in attributes.items():
        key = "class" if key == "cls" else key.replace("_", "-")
        value = ("%.1f" % value).removesuffix(".0") if isinstance(value, float) else str(value)
        written.append(' %s="%s"' % (key, escape(value, {'"': "&quot;"})))
    head = "<" + name + "".join(written)
    return head + "/>" if inner is None else "%s>%s</%s>" % (head, inner, name)


def text(x, y, words, cls="f-ink", anchor="start"):
    return element("text", escape(words), x=float(x), y=float(y), cls=cls, text_anchor=anchor)


def rect(x, y, width, height, cls, **more):
    return element("rect", x=float(x), y=float(y), width=float(max(width, 0)), height=float(height), cls=cls, **more)


def line(x1, y1, x2, y2, cls, **more):
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), cls=cls, **more)


def group(label, parts):
    """A group whose title a pointer shows and a screen reader says."""
    return element("g", element("title", escape(label)) + "".join(parts))


def document(title, description, height, parts):
    """The whole file. `description` says in words what the plot shows."""
    inner = "\n".join([
        element("title", escape(title), id="title"), element("desc", escape(description), id="desc"),
        element("style", STYLE),
        rect(0.5, 0.5, WIDTH - 1, height - 1, "f-ground s-faint", rx=8),
        text(24, 36, title, "f-ink title"), *parts])
    return element("svg", "\n" + inner + "\n", xmlns="http://www.w3.org/2000/svg", width=WIDTH, height=int(height),
                   viewBox="0 0 %d %d" % (WIDTH, height), role="img", aria_labelledby="title desc") + "\n"


def wrapped(x, y, lines, cls="f-soft small", step=17):
    """Some lines of text under each other."""
    return [text(x, y + step * number, words, cls) for number, words in enumerate(lines)]
