"""Which cookie of a request counts, where it is not the one of ours that it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.http.cookies.session_cookie import Presented
from wsgi_sessions.http.cookies.twins import look_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.http.cookies.twins import Twins
    from wsgi_sessions.importers.adoption import Adoption


def one_that_counts(
    presented: Presented, manager: SessionManager, route: Callable[[], str]
) -> tuple[Presented, Twins]:
    """Return the cookie that counts, of several that verify, and what they lead to."""
    twins = look_up(presented.candidates, manager.loader)
    if twins.alive > 1:
        manager.events.emit("ambiguous", alive=twins.alive, route=route())
    return twins.chosen or presented, twins


def foreign_one(
    adoption: Adoption, header: str | None, route: Callable[[], str]
) -> Presented | None:
    """Return the cookie of another library whose session is taken over, for want of an own."""
    session_id = adoption.session_id(header, route)
    return None if session_id is None else Presented("foreign", session_id)
