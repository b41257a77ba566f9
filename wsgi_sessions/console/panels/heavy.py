"""The largest and the most-written sessions of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import NOTHING, joined, linked, paragraph, since, table

if TYPE_CHECKING:
    from markupsafe import Markup

    from wsgi_sessions.console.numbers.heavy import HeavyNumbers

_LARGE = ("Session", "Bytes", "User", "Last used")
_WRITTEN = ("Session", "Commits", "Per hour", "Last route")


def heavy(numbers: HeavyNumbers) -> Markup:
    """Return the sessions that cost most, by size and by the number of commits."""
    if not numbers.largest:
        return paragraph("There is no session.", "quiet")
    sizes = [
        (linked(each.key), f"{each.size:,d}", each.user, since(each.last_used_at, numbers.at))
        for each in numbers.largest
    ]
    writes = [
        (linked(each.key), f"{each.commits:,d}", f"{each.per_hour:,.3g}", each.route or NOTHING)
        for each in numbers.most_written
    ]
    return joined(
        (
            paragraph(numbers.basis.in_words(), "quiet"),
            paragraph(f"Largest (WSGI_SESSIONS_MAX_SIZE is {numbers.limit:,d})", "subtitle"),
            table(_LARGE, sizes),
            paragraph("Most written", "subtitle"),
            table(_WRITTEN, writes),
        )
    )
