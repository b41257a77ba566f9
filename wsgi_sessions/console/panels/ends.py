"""The ends of sessions, by reason and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.charts import Series, hours_from, stacked
from wsgi_sessions.console.markup import joined, paragraph, table
from wsgi_sessions.console.numbers.live import HOURS
from wsgi_sessions.endings import REASONS
from wsgi_sessions.operations.words import span

if TYPE_CHECKING:
    from wsgi_sessions.console.numbers.ends import EndNumbers
    from wsgi_sessions.endings import EndReason

_ELSEWHERE = Markup(
    '<p class="quiet">Not kept by this store. The log has each end as <code>ended</code>, with its '
    "reason.</p>"
)
_HEADS = ("Reason", "Last hour", "Last day", "All kept")


def ends(numbers: EndNumbers | None) -> Markup:
    """Return the reasons of the ends of the last 24 hours, and of all that are kept."""
    if numbers is None:
        return _ELSEWHERE
    if not numbers.read:
        return paragraph(f"None in the last {span(numbers.kept_seconds)}.", "quiet")
    rows = [
        (_named(each.why), f"{each.last_hour:,d}", f"{each.last_day:,d}", f"{each.kept:,d}")
        for each in numbers.by_reason
    ]
    pieces = (paragraph(numbers.in_words(), "quiet"), _chart(numbers), table(_HEADS, rows))
    return joined(pieces)


def _chart(numbers: EndNumbers) -> Markup:
    series = [
        Series(reason, f"s{place}", numbers.by_hour[reason]) for place, reason in enumerate(REASONS)
    ]
    return stacked("Ended in the last 24 hours", series, hours_from(numbers.first_hour, HOURS))


def _named(reason: EndReason) -> Markup:
    words = REASONS.get(reason, "")
    return Markup('<span title="{}">{}</span>').format(words, texts.shown(reason))
