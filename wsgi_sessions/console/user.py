"""The page of one user: their devices, and a button to end each, if the console may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import (
    NOTHING,
    joined,
    paragraph,
    session_link,
    since,
    table,
    template,
)
from wsgi_sessions.console.traces import ended_of, trace_table
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.words import counted, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.core.principals import StoredSession

ALL = "all"
_HEADS = ("Session", "Device", "Began", "Last used", "Expires", "")


def user_page(view: View, principal: str, form_token: str | None) -> Markup:
    """Return the sessions of a user, as the operator typed it. Needs no scan.

    `form_token` goes into the forms that end sessions; without one there are none. Raises
    StoreUnavailable.
    """
    found = sessions_of(view, principal)
    view.remember(session.key for session in found)
    pieces = [paragraph(f"{counted(len(found), 'live session')}.")]
    if found:
        pieces.append(table(_HEADS, _rows(view, principal, found, form_token)))
    if found and form_token is not None:
        pieces.append(_form("revoke_all.html", principal, ALL, form_token))
    ended = ended_of(view, principal)
    if ended:
        pieces += [paragraph("Ended lately", "subtitle"), trace_table(view, ended)]
    return joined(pieces)


def sessions_of(view: View, principal: str) -> Sequence[StoredSession]:
    """Return the live sessions of a user. Raises StoreUnavailable."""
    manager = SessionManager(view.backend, lifetimes=view.lifetimes)
    return manager.sessions_of(principal)


def _rows(
    view: View, principal: str, sessions: Sequence[StoredSession], form_token: str | None
) -> Iterator[Sequence[object]]:
    now = view.clock()
    for each in sessions:
        short = short_key(each.key)
        form = "" if form_token is None else _form("revoke.html", principal, short, form_token)
        yield (
            session_link(each.key),
            NOTHING if each.label is None else each.label,
            since(each.created_at, now),
            since(each.last_used_at, now),
            until(each.expires_at, now),
            form,
        )


def _form(name: str, principal: str, only: str, token: str) -> Markup:
    return template(name).format(principal=principal, only=only, token=token)
