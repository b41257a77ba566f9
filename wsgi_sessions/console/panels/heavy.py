"""The largest and the most-written sessions of the sample."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import NOTHING, joined, paragraph, session_link, since, table
from wsgi_sessions.console.panels.live import basis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.operations.sampling import SampledSession

_SHOWN = 5
_LARGE = ("Session", "Bytes", "User", "Last used")
_WRITTEN = ("Session", "Commits", "Per hour", "Last route")


def heavy(view: View) -> Markup:
    """Return the sessions that cost most, by size and by the number of commits."""
    sample = view.sample()
    large = nlargest(_SHOWN, sample.sessions, key=lambda each: each.size)
    written = nlargest(_SHOWN, sample.sessions, key=lambda each: each.version)
    view.remember(each.session.key for each in (*large, *written))
    limit = view.config.max_size
    return joined(
        (
            paragraph(basis(sample), "quiet"),
            paragraph(f"Largest (WSGI_SESSIONS_MAX_SIZE is {limit:,d})", "subtitle"),
            table(_LARGE, _sizes(view, large, sample.at)),
            paragraph("Most written", "subtitle"),
            table(_WRITTEN, _writes(written, sample.at)),
        )
    )


def _sizes(
    view: View, sessions: Sequence[SampledSession], now: float
) -> Iterator[Sequence[object]]:
    for each in sessions:
        user, used = view.pseudonym(each.user), since(each.session.last_used_at, now)
        yield session_link(each.session.key), f"{each.size:,d}", user, used


def _writes(sessions: Sequence[SampledSession], now: float) -> Iterator[Sequence[object]]:
    for each in sessions:
        hours = max(now - each.session.created_at, 60) / 3600
        route = each.commits[-1].route if each.commits else NOTHING
        yield (
            session_link(each.session.key),
            f"{each.version:,d}",
            f"{each.version / hours:,.3g}",
            route,
        )
