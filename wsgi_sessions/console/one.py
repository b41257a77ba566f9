"""The page of one session: what happened to it, and what it holds, without values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import facts, joined, paragraph, session_link, since, table
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import inspect
from wsgi_sessions.operations.words import timestamp, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.endings import EndTrace
    from wsgi_sessions.operations.inspection import SessionDetails
    from wsgi_sessions.operations.story import Story


_SEVERAL = "Several sessions' keys begin like this: type more of it."
_NOTHING = "There is no live session with this key, and no trace of its end."
_TOLD = {
    "damaged": "The session is damaged: its record is set aside at its next use.",
    "expired": "The session has expired, and its record is not swept yet.",
    "ended": "The session has ended.",
}


def session_page(view: View, beginning: str) -> Markup:
    """Return the story of the session whose key begins so, and what is stored, without values.

    Raises StoreUnavailable.
    """
    stories = view.teller().of_key(view.shown_key(beginning) or beginning, 2)
    if not stories:
        return paragraph(_NOTHING, "status warning")
    if len(stories) > 1:
        return paragraph(_SEVERAL, "status bad")
    return joined(_pieces(view, stories[0]))


def _pieces(view: View, story: Story) -> Iterator[Markup]:
    details = _details(view, story)
    if story.state != "live":
        yield paragraph(_TOLD[story.state], "status warning")
    if details is not None:
        yield facts(_facts(view, details))
    elif story.trace is not None:
        yield facts(_facts_of_end(view, story.trace))
    steps = [(f"{timestamp(step.at)} UTC", step.words) for step in story.steps]
    yield paragraph("What happened", "subtitle")
    yield table(("At", "What"), steps)
    yield paragraph("Not known here", "subtitle")
    yield from (paragraph(f"{gap}.") for gap in view.teller().gaps(view.config.endings_kept))
    if details is not None and details.values:
        values = [(value.key, value.type, f"{value.size:,d}") for value in details.values]
        yield paragraph("Keys", "subtitle")
        yield table(("Key", "Type", "Bytes"), values)


def _details(view: View, story: Story) -> SessionDetails | None:
    if story.state != "live":
        return None
    try:
        return inspect(view.backend, story.key, view.lifetimes)
    except CorruptRecord:
        return None  # the story says so


def _facts_of_end(view: View, trace: EndTrace) -> Iterator[tuple[str, object]]:
    yield "Session", short_key(trace.key)
    yield "Ended", f"{timestamp(trace.at)} UTC, {trace.why}"
    yield "By", trace.by
    yield "User in the log", trace.user or "not logged in"
    if trace.successor is not None:
        view.remember([trace.successor])
        yield "Goes on as", session_link(trace.successor)


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
