"""The curves as SVG: small panels beside each other, drawn with nothing but text.

Runs in: the benchmark, after it has measured.
"""

import math
import statistics
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 330, 260  # of one panel
LEFT, TOP, RIGHT, BOTTOM = 48, 44, 20, 46  # room around its plot
COLUMNS = 3
INK, FAINT, GRID = "#1f2328", "#656d76", "#e4e7eb"
#: What a line's title begins with: its colour.
COLOURS = {"we": "#0b63ce", "mod_wsgi": "#d1602d"}
STYLE = """
text { font: 12px "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: 600 }
.faint { fill: #656d76; font-size: 11px }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
"""


def colour(title):
    return next(value for start, value in COLOURS.items() if title.startswith(start))


def dashes(title):
    return ' stroke-dasharray="2 5"' if "," in title else ""


def text(x, y, words, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def ticks(most):
    """Round values from 0 to above `most`, at most six."""
    power = 10 ** math.floor(math.log10(most / 5))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power * 5 >= most)
    return [step * i for i in range(math.ceil(most / step) + 1)]


class Panel:
    """One plot: the frame, and where values are in it."""

    def __init__(self, title, axis, note, xs, ys, log=True):
        self.xs, self.top, self.log = xs, ys[-1], log
        self.parts = [text(14, 18, title, kind="title"), text(14, 34, note, kind="faint")]
        right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
        for value in ys:
            y = self.y(value)
            self.parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" '
                              f'stroke="{GRID if value else FAINT}"/>')
            self.parts.append(text(LEFT - 8, y + 4, f"{value:,g}", "end", "faint"))
        for x in xs:
            self.parts.append(text(self.x(x), floor + 18, f"{x:,}", "middle", "faint"))
        self.parts.append(text((LEFT + right) / 2, floor + 36, axis, "middle", "faint"))

    def x(self, value):
        first, last = self.xs[0], self.xs[-1]
        part = (math.log(value / first) / math.log(last / first) if self.log
                else (value - first) / (last - first))
        # A little room at both ends, so that marks do not touch the axis.
        return LEFT + 10 + part * (WIDTH - RIGHT - LEFT - 20)

    def y(self, value):
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - BOTTOM - TOP - 8)

    def at(self, x, y):
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def line(self, title, points):
        """`points`: x -> values of the rounds; a band from the least to the most, the median as line."""
        xs = sorted(points)
        band = [self.at(x, max(points[x])) for x in xs] + [self.at(x, min(points[x])) for x in xs[::-1]]
        self.parts.append(f'<polygon points="{" ".join(band)}" fill="{colour(title)}" opacity="0.15"/>')
        path = " ".join(self.at(x, statistics.median(points[x])) for x in xs)
        self.parts.append(f'<polyline points="{path}" class="line" stroke="{colour(title)}"{dashes(title)}/>')
        if not dashes(title):
            for x in xs:
                px, py = self.at(x, statistics.median(points[x])).split(",")
                self.parts.append(f'<circle cx="{px}" cy="{py}" r="3" fill="{colour(title)}"/>')

    def dots(self, places, of):
        self.parts += [f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="1.3" fill="{of}" opacity="0.6"/>'
                       for x, y in places]


def curve_panel(curve):
    most = max(max(values) for line in curve.lines.values() for values in line.values())
    xs = sorted({x for line in curve.lines.values() for x in line})
    panel = Panel(curve.title, curve.axis, "CPU per request, µs", xs, ticks(most))
    # Ours last, so that it lies on top.
    for title in sorted(curve.lines, key=lambda title: title.startswith("we")):
        panel.line(title, curve.lines[title])
    return panel


def queue_panel(queue):
    count = len(queue.places)
    panel = Panel(f"A queue of {count:,}", "place when sent",
                  f"place when run ({queue.title})", [0, count // 4, count // 2, count * 3 // 4, count],
                  ticks(count), log=False)
    panel.dots(queue.places, colour(queue.title))
    return panel


def legend():
    rows = ["we", "mod_wsgi 6.1.1", "we, all in turn", "mod_wsgi 6.1.1, all in turn"]
    parts = []
    for row, title in enumerate(rows):
        y = 60 + row * 28
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + 36}" y1="{y}" y2="{y}" class="line" '
                     f'stroke="{colour(title)}"{dashes(title)}/>')
        parts.append(text(LEFT + 48, y + 4, title.replace("all in turn", "groups asked in turn")))
    y = 60 + len(rows) * 28
    parts.append(f'<rect x="{LEFT}" y="{y - 7}" width="36" height="14" fill="{FAINT}" opacity="0.2"/>')
    parts.append(text(LEFT + 48, y + 4, "from least to most of the rounds"))
    return parts


def picture(found, queue):
    panels = [curve_panel(curve).parts for curve in found]
    panels += [queue_panel(queue[-1]).parts] if queue else []
    panels.append(legend())
    width = COLUMNS * WIDTH + 20
    height = math.ceil(len(panels) / COLUMNS) * (HEIGHT + 12) + 20
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" role="img" '
             f'aria-label="Cost per request as clients, processes, groups and idle connections grow">',
             f"<style>{STYLE}</style>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for number, parts in enumerate(panels):
        x, y = 10 + number % COLUMNS * WIDTH, 10 + number // COLUMNS * (HEIGHT + 12)
        lines.append(f'<g transform="translate({x} {y})">')
        lines += parts
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])
