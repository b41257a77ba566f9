"""The live sessions: how many, whose, and when they began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions.console.charts import Series, stacked
from wsgi_sessions.console.markup import facts, joined, paragraph
from wsgi_sessions.operations.words import span, timestamp
from wsgi_sessions.settings.kinds import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.view import View
    from wsgi_sessions.operations.sampling import Sample

_HOURS = 24


def live(view: View) -> Markup:
    """Return the number of sessions, and when those that still live began."""
    sample = view.sample()
    pieces = [_number(sample), paragraph(basis(sample), "quiet"), facts(_facts(sample))]
    pieces.append(_begun(sample))
    if len(view.counts) > 1:
        first, last = view.counts[0], view.counts[-1]
        grown = last.sessions - first.sessions
        pieces.append(
            paragraph(f"{grown:+,d} in the {span(last.at - first.at)} that this console is open.")
        )
    return joined(pieces)


def basis(sample: Sample) -> str:
    """Return what numbers from a sample are based on, as a sentence."""
    read = len(sample.sessions)
    if sample.is_all:
        return "All sessions were read."
    if sample.total is None:
        return f"From the first {read:,d} that a scan found; this store does not tell the total."
    share = 100 * read / max(sample.total, 1)
    return f"An estimate, from {read:,d} sessions that were read ({share:.2g} %)."


def _number(sample: Sample) -> Markup:
    total = sample.total
    if total is None:
        text = f"more than {len(sample.sessions):,d}"
    else:
        text = f"{total:,d}" if sample.is_all else f"about {float(f'{total:.3g}'):,.0f}"
    return Markup('<p class="big">{}</p>').format(text)


def _facts(sample: Sample) -> Iterator[tuple[str, object]]:
    sessions = sample.sessions
    if not sessions:
        return
    bound = sum(each.user is not None for each in sessions)
    yield "Logged in", f"{100 * bound / len(sessions):.0f} %"
    sizes = sorted(each.size for each in sessions)
    yield "Size", f"{sizes[len(sizes) // 2]:,d} bytes half of them, {sizes[-1]:,d} the largest"
    idle = sorted(sample.at - each.session.last_used_at for each in sessions)
    yield "Last used", f"half of them within {span(idle[len(idle) // 2])}"


def _begun(sample: Sample) -> Markup:
    """Return a chart of the hours in which they began, as far as the sample reaches."""
    counts = {True: [0] * _HOURS, False: [0] * _HOURS}
    first = sample.at // HOUR - _HOURS + 1
    for each in sample.sessions:
        place = int(each.session.created_at // HOUR - first)
        if 0 <= place < _HOURS:
            counts[each.user is not None][place] += 1
    labels = [timestamp((first + i) * HOUR)[11:16] for i in range(_HOURS)]
    series = [
        Series("logged in", "s0", counts[True]),
        Series("not logged in", "s1", counts[False]),
    ]
    what = "Begun in the last 24 hours, of the sessions read"
    return stacked(what, series, labels)
