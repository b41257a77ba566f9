"""Charts as inline SVG: stacked bars over time. Labels are HTML around it, so they keep their size.

Not by a library: pygal and leather write ``<style>`` and ``style=``, which the console's
Content-Security-Policy forbids, and fixed colours, where these follow the page into the dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.markup import joined, paragraph, shown
from wsgi_sessions.operations.words import timestamp
from wsgi_sessions.settings.kinds import HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEIGHT = 100
_STEP = 10
_BAR = Markup('<rect class="{}" x="{}" y="{:.2f}" width="8" height="{:.2f}"/>')
_COLUMN = Markup("<g><title>{}</title>{}</g>")
_CHART = Markup(
    '<figure class="chart"><figcaption>{}</figcaption><span class="most">{}</span>'
    '<svg viewBox="0 0 {} 100" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    '<div class="ticks">{}</div>{}</figure>'
)
_TICK = Markup("<span>{}</span>")
_KEY = Markup('<li><span class="swatch {}"></span>{} <strong>{}</strong></li>')


@texts.shows("name", "kind")
class Series(NamedTuple):
    """One kind of thing over time; `kind` is the class of its colour in the style sheet."""

    name: str
    kind: str
    values: Sequence[int]


def stacked(title: str, series: Sequence[Series], labels: Sequence[str]) -> Markup:
    """Return bars, one for each of the `labels`, in which the values of all series are stacked.

    Without any value, a sentence stands in for them.
    """
    sums = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    most = max(sums, default=0)
    if not most:
        return paragraph(f"{title}: none.", "quiet")
    columns = joined(_column(number, label, series, most) for number, label in enumerate(labels))
    told = f"{title}: {sum(sums)} in all, {most} at most"
    width = _STEP * len(labels)
    return _CHART.format(title, most, width, told, columns, _ticks(labels), _legend(series))


def hours_from(first: float, number: int) -> list[str]:
    """Return the labels of so many hours, from a time in seconds since the epoch: ``14:00``."""
    return [timestamp(first + place * HOUR)[11:16] for place in range(number)]


def _column(number: int, label: str, series: Sequence[Series], most: int) -> Markup:
    bars, top = [], float(_HEIGHT)
    for each in series:
        height = each.values[number] * (_HEIGHT - 2) / most if most else 0
        if height:
            top -= height
            bars.append(_BAR.format(each.kind, number * _STEP + 1, top, height))
    told = ", ".join(f"{each.values[number]} {each.name}" for each in series if each.values[number])
    return _COLUMN.format(f"{label}: {told or 'none'}", joined(bars))


def _ticks(labels: Sequence[str]) -> Markup:
    """Return the labels of the beginning, the middle and the end."""
    places = (0, len(labels) // 2, len(labels) - 1) if labels else ()
    return joined(_TICK.format(labels[place]) for place in places)


def _legend(series: Sequence[Series]) -> Markup:
    if len(series) < 2:
        return Markup("")
    keys = (_KEY.format(s.kind, shown(s.name), sum(s.values)) for s in series if any(s.values))
    return Markup('<ul class="legend">{}</ul>').format(joined(keys))
