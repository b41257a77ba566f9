"""Pictures as SVG text: bars and lines, legible on light and dark pages and on a phone.

They are 480 units wide, so that 14-unit text is still read on a narrow screen; labels stand above
their bars. Every value is text. Colours follow the reader's ``prefers-color-scheme``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 480
MARGIN = 16
STYLE = """
text { font: 13px system-ui, sans-serif; fill: var(--text) }
.title { font-size: 17px; font-weight: 600 }
.note { font-size: 12px; fill: var(--faint) }
.group { font-weight: 600 }
.axis { stroke: var(--line); stroke-width: 1 }
.back { fill: var(--back) }
.s0 { fill: var(--s0) } .s1 { fill: var(--s1) } .s2 { fill: var(--s2) }
.s3 { fill: var(--s3) } .s4 { fill: var(--s4) } .s5 { fill: var(--s5) }
path.s0, path.s1, path.s2, path.s3, path.s4, path.s5 { fill: none; stroke-width: 2.5 }
path.s0 { stroke: var(--s0) } path.s1 { stroke: var(--s1) } path.s2 { stroke: var(--s2) }
path.s3 { stroke: var(--s3) } path.s4 { stroke: var(--s4) } path.s5 { stroke: var(--s5) }
:root { --back: #ffffff; --text: #1f2328; --faint: #59636e; --line: #d1d9e0; --s0: #0969da;
  --s1: #8250df; --s2: #9a6700; --s3: #1a7f37; --s4: #cf222e; --s5: #59636e }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1117; --text: #f0f6fc; --faint: #9198a1; --line: #3d444d; --s0: #4493f8;
    --s1: #ab7df8; --s2: #d29922; --s3: #3fb950; --s4: #f85149; --s5: #9198a1 }
}
"""


class Bar(NamedTuple):
    """One value; `series` chooses its colour, `text` is what is written beside it."""

    value: float
    text: str
    series: int


class Row(NamedTuple):
    """A label and its bars."""

    label: str
    bars: Sequence[Bar]


class Line(NamedTuple):
    """Points of one series, and its name."""

    name: str
    points: Sequence[tuple[float, float]]
    series: int


class Axis(NamedTuple):
    """What an axis shows, and where it has ticks; always logarithmic for lines."""

    title: str
    ticks: Sequence[float]


def bars(
    title: str, note: str, rows: Sequence[Row], legend: Sequence[str], *, most: float | None = None
) -> str:
    """A picture of horizontal bars from zero; `most` is the value of the longest."""
    longest = most or max((bar.value for row in rows for bar in row.bars), default=1.0) or 1.0
    space = WIDTH - 2 * MARGIN - 92  # the text beside the longest bar
    parts, y = _head(title, note)
    y = _legend(parts, legend, y)
    for row in rows:
        y += 21
        parts.append(_text(MARGIN, y, row.label, "group"))
        y += 6
        for bar in row.bars:
            width = max(1.0, bar.value / longest * space)
            kind = f'class="s{bar.series}"'
            parts.append(
                f'<rect {kind} x="{MARGIN}" y="{y}" width="{width:.1f}" height="13" rx="2"/>'
            )
            parts.append(_text(MARGIN + width + 6, y + 11, bar.text))
            y += 17
    return _picture(title, parts, y + MARGIN)


def lines(title: str, note: str, every: Sequence[Line], across: Axis, up: Axis) -> str:
    """A picture of lines, both axes logarithmic; each line's last value is written at its end."""
    parts, top = _head(title, note)
    top = _legend(parts, [line.name for line in every], top, [line.series for line in every])
    left, right, top, bottom = MARGIN + 44, WIDTH - 64, top + 30, top + 290

    def x_of(value: float) -> float:
        return left + _part(value, across.ticks) * (right - left)

    def y_of(value: float) -> float:
        return bottom - _part(value, up.ticks) * (bottom - top)

    parts.append(_text(MARGIN, top - 12, up.title, "note"))
    for tick in up.ticks:
        y = y_of(tick)
        parts.append(f'<path class="axis" d="M{left} {y:.1f}H{right}"/>')
        parts.append(_text(left - 6, y + 4, short(tick), "note", "end"))
    for tick in across.ticks:
        parts.append(_text(x_of(tick), bottom + 18, short(tick), "note", "middle"))
    parts.append(_text((left + right) / 2, bottom + 38, across.title, "note", "middle"))
    for line in every:
        steps = [f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in line.points]
        parts.append(f'<path class="s{line.series}" d="M{"L".join(steps)}"/>')
        for x, y in line.points:
            parts.append(
                f'<circle class="s{line.series}" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3.5"/>'
            )
    ends: list[float] = []
    for x, y in sorted((line.points[-1] for line in every), key=lambda point: point[1]):
        ends.append(_apart(y_of(y) + 4, ends))
        parts.append(_text(x_of(x) + 8, ends[-1], short(y)))
    return _picture(title, parts, bottom + 52)


def short(value: float) -> str:
    """A number in few characters."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[letter]:.3g}{letter}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def decades(values: Iterable[float]) -> list[float]:
    """Powers of ten that enclose the values."""
    found = list(values)
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _part(value: float, ticks: Sequence[float]) -> float:
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    return (math.log10(value) - low) / (high - low)


def _apart(y: float, others: Sequence[float]) -> float:
    """Not over another text: moved up until it is free."""
    while any(abs(y - other) < 13 for other in others):
        y -= 1
    return y


def _head(title: str, note: str) -> tuple[list[str], int]:
    parts, y = [_text(MARGIN, 30, title, "title")], 34
    for line in _wrapped(note, 70):
        y += 16
        parts.append(_text(MARGIN, y, line, "note"))
    return parts, y


def _legend(
    parts: list[str], names: Sequence[str], y: int, series: Sequence[int] | None = None
) -> int:
    x, y = float(MARGIN), y + 22 if names else y
    for name, number in zip(names, series or range(len(names)), strict=False):
        width = 30 + 6.8 * len(name)
        if x + width > WIDTH and x > MARGIN:
            x, y = float(MARGIN), y + 18
        parts.append(
            f'<rect class="s{number}" x="{x:.0f}" y="{y - 10}" width="11" height="11" rx="2"/>'
        )
        parts.append(_text(x + 16, y, name))
        x += width
    return y


def _wrapped(text: str, width: int) -> list[str]:
    found: list[str] = []
    for word in text.split():
        if found and len(found[-1]) + len(word) < width:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    return f'<text{attributes} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, parts: Sequence[str], height: float) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<rect class="back" width="100%" height="100%" rx="6"/>',
            *parts,
            "</svg>\n",
        ]
    )
