"""Traces of ended sessions, for the pages of a user and of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import (
    NOTHING,
    facts,
    joined,
    paragraph,
    session_link,
    since,
    table,
)
from wsgi_sessions.endings import REASONS
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.endings import EndTrace

_SHOWN = 10
_HEADS = ("Session", "Ended", "Why", "By", "Route")


def ended_with(view: View, beginning: str) -> list[EndTrace]:
    """Return the traces of sessions whose keys begin so. Raises StoreUnavailable."""
    store = view.backend.endings
    return [] if store is None else store.matching(beginning, 2)


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


def trace_page(view: View, trace: EndTrace) -> Markup:
    """Return one end: why, by whom, what came before."""
    commits = [(f"{timestamp(at)} UTC", route) for at, route in reversed(trace.commits)]
    pieces = [
        paragraph(f"The session has ended: {REASONS.get(trace.why, trace.why)}.", "status warning"),
        facts(_facts(view, trace)),
    ]
    if commits:
        pieces += [paragraph("Latest commits", "subtitle"), table(("At", "By"), commits)]
    return joined(pieces)


def _facts(view: View, trace: EndTrace) -> Iterator[tuple[str, object]]:
    yield "Session", short_key(trace.key)
    yield "Ended", f"{timestamp(trace.at)} UTC, {trace.why}"
    yield "By", trace.by
    if trace.route is not None:
        yield "Route", trace.route
    if trace.detail is not None:
        yield "Detail", trace.detail
    yield "User in the log", trace.user or "not logged in"
    if trace.begun_at is not None:
        yield "Began", since(trace.begun_at, view.clock())
    if trace.successor is not None:
        view.remember([trace.successor])
        yield "Goes on as", session_link(trace.successor)
