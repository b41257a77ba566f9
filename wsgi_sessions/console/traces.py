"""Traces of ended sessions, for the page of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import (
    NOTHING,
    session_link,
    since,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.endings import EndTrace

_SHOWN = 10
_HEADS = ("Session", "Ended", "Why", "By", "Route")


def ended_of(view: View, principal: str) -> Sequence[EndTrace]:
    """Return the latest traces of a user, newest first. Raises StoreUnavailable."""
    store, user = view.backend.endings, view.pseudonym(principal)
    return [] if store is None else store.of_user(user, _SHOWN)


def trace_table(view: View, traces: Sequence[EndTrace]) -> Markup:
    """Return ends as a table."""
    view.remember(trace.key for trace in traces)
    now = view.clock()
    rows = [
        (session_link(each.key), since(each.at, now), each.why, each.by, each.route or NOTHING)
        for each in traces
    ]
    return table(_HEADS, rows)
