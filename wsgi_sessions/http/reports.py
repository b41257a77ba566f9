"""Reports on requests whose answer or changes were refused or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import (
    SessionConflict,
    SessionError,
    StoreUnavailable,
    TooManySessions,
    TooManyWaiting,
)
from wsgi_sessions.http.page_load import is_page_load
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.events import EventName, Events


def report_refusal(events: Events, error: SessionError, route: str) -> None:
    """Report why a request is refused; conflicts have been reported by the commit."""
    if isinstance(error, SessionConflict):
        return
    key = error.key if isinstance(error, StoreUnavailable) else None
    name: EventName = "unavailable"
    if isinstance(error, (TooManyWaiting, TooManySessions)):
        name = "busy" if isinstance(error, TooManyWaiting) else "full"
    events.emit(name, key, error=str(error), cause=error.cause, route=route)


def report_lost(
    events: Events, error: BaseException, snapshot: Snapshot | None, route: str
) -> None:
    """Report lost changes of a request that has been answered as if they were stored."""
    key = None if snapshot is None else short_key(snapshot.key)
    text, cause = type(error).__name__, "other"
    if isinstance(error, SessionError):
        text, cause = str(error), error.cause
    events.emit("lost", key, error=text, cause=cause, route=route)


def report_first(
    events: Events, environ: WSGIEnvironment, session: Snapshot, why: str | None, route: str
) -> None:
    """Report a session that a request without any cookie began, where one should have come.

    `why`: no cookie has come back so far, for this reason. A page load brings none the first time;
    a script's request should.
    """
    if why is not None:
        events.emit("cookie-lost", reason=why)
    if not is_page_load(environ):
        count = events.counts().get("cookieless", 0) + 1
        events.emit("cookieless", short_key(session.key), count=count, route=route)
