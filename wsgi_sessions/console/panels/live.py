"""The live sessions: how many, whose, and when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions.console.charts import Series, hours_from, stacked
from wsgi_sessions.console.markup import facts, joined, paragraph
from wsgi_sessions.operations.words import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.numbers.live import BegunByHour, LiveNumbers


def live(numbers: LiveNumbers) -> Markup:
    """Return the number of sessions, and when those that still live began."""
    pieces = [
        Markup('<p class="big">{}</p>').format(numbers.basis.number()),
        paragraph(numbers.basis.in_words(), "quiet"),
        facts(_facts(numbers)),
        _begun(numbers.begun),
    ]
    if numbers.growth is not None:
        grown, seconds = numbers.growth.sessions, numbers.growth.seconds
        pieces.append(paragraph(f"{grown:+,d} in the {span(seconds)} that this console is open."))
    return joined(pieces)


def _facts(numbers: LiveNumbers) -> Iterator[tuple[str, object]]:
    if numbers.median_size is None or numbers.median_idle is None:
        return
    yield "Logged in", f"{100 * numbers.logged_in / numbers.basis.read:.0f} %"
    half = f"{numbers.median_size:,d} bytes half of them"
    yield "Size", f"{half}, {numbers.largest_size:,d} the largest"
    yield "Last used", f"half of them within {span(numbers.median_idle)}"


def _begun(begun: BegunByHour) -> Markup:
    """Return a chart of the hours in which they began, as far as the sample reaches."""
    series = [
        Series("logged in", "s0", begun.logged_in),
        Series("not logged in", "s1", begun.not_logged_in),
    ]
    what = "Begun in the last 24 hours, of the sessions read"
    return stacked(what, series, hours_from(begun.first_hour, len(begun.logged_in)))
