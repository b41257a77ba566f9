"""The cookie of a request that counts, where it is not simply our only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.http.cookies.session_cookie import PresentedCookie
from wsgi_sessions.http.cookies.twins import look_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.http.cookies.twins import Twins
    from wsgi_sessions.importers.adoption import Adoption


def one_that_counts(
    presented: PresentedCookie, manager: SessionManager, route: Callable[[], str]
) -> tuple[PresentedCookie, Twins]:
    """Return the one of several valid cookies that counts, and the sessions behind them."""
    twins = look_up(presented.candidates, manager.loader)
    if twins.alive > 1:
        manager.events.emit("ambiguous", alive=twins.alive, route=route())
    return twins.chosen or presented, twins


def foreign_one(
    adoption: Adoption, header: str | None, route: Callable[[], str]
) -> PresentedCookie | None:
    """Return the cookie of another library whose session is taken over, without one of ours."""
    session_id = adoption.session_id(header, route)
    return None if session_id is None else PresentedCookie("foreign", session_id)
