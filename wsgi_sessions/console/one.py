"""The page of one session: what it holds, without values, and what happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import facts, joined, paragraph, since, table
from wsgi_sessions.console.traces import ended_with, trace_page
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import inspect, matching_keys
from wsgi_sessions.operations.words import timestamp, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.operations.inspection import SessionDetails


_SEVERAL = "Several sessions' keys begin like this: type more of it."


def session_page(view: View, beginning: str) -> Markup:
    """Return what is stored about the session whose key begins so, without values.

    A key that the console has shown is found at once; others need a scan. Raises StoreUnavailable.
    """
    shown = view.shown_key(beginning)
    keys = matching_keys(view.backend, beginning) if shown is None else [shown]
    if len(keys) > 1:
        return paragraph(_SEVERAL, "status bad")
    try:
        details = inspect(view.backend, keys[0], view.lifetimes) if keys else None
    except CorruptRecord as error:
        return paragraph(f"The session is damaged: {error}", "status bad")
    return _ended(view, beginning) if details is None else _details(view, details)


def _ended(view: View, beginning: str) -> Markup:
    traces = ended_with(view, beginning)
    if len(traces) > 1:
        return paragraph(_SEVERAL, "status bad")
    if traces:
        return trace_page(view, traces[0])
    text = "There is no live session with this key, and no trace of its end."
    return paragraph(text, "status warning")


def _details(view: View, details: SessionDetails) -> Markup:
    values = [(value.key, value.type, f"{value.size:,d}") for value in details.values]
    commits = [(f"{timestamp(c.at)} UTC", c.route) for c in reversed(details.commits)]
    pieces = [facts(_facts(view, details))]
    if commits:
        pieces += [paragraph("Latest commits", "subtitle"), table(("At", "By"), commits)]
    if values:
        pieces += [paragraph("Keys", "subtitle"), table(("Key", "Type", "Bytes"), values)]
    return joined(pieces)


def _facts(view: View, details: SessionDetails) -> Iterator[tuple[str, object]]:
    session, now = details.summary, view.clock()
    yield "Session", short_key(session.key)
    user = None if details.principal is None else str(details.principal)
    yield "User in the log", "not logged in" if user is None else view.pseudonym(user)
    yield "Began", since(session.created_at, now)
    yield "Last used", since(session.last_used_at, now)
    yield "Expires", until(session.expires_at, now)
    yield "Size", f"{details.size:,d} bytes, version {details.version:,d}"
    if details.holders is not None:
        yield "In use by", f"{details.holders} requests"
    if details.refreshing.is_kept_alive:
        last = session.refreshed_at
        yield "Refreshed", "not yet" if last is None else since(last, now)
    for scope, version in details.stamps.items():
        yield f"Made from {scope}", f"version {version}"
