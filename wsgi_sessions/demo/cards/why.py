"""The card of ends: a session ends in several ways, and the next page says which one it was."""

from __future__ import annotations

import secrets
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from werkzeug.routing import Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from wsgi_sessions.demo.request import with_answers
from wsgi_sessions.demo.template import template
from wsgi_sessions.endings import REASONS
from wsgi_sessions.http.environ import get_transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.demo.request import DemoRequest

ENDED_COOKIE = "ended"
"""The name of a visitor whose session has ended, for the button that logs in again."""
WHY = "why"
"""The parameter by which the page without a session keeps the reason."""
OPERATOR = "wsgi-sessions revoke by the operator"
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "logged-out": "You logged out in another tab.",
        "revoked": "This device was logged out, by you on another one, or by us.",
        "expired-idle": "Your session expired: it was not used for a while.",
        "expired-absolute": "Your session expired: it is time to log in again.",
        "superseded": "Somebody else logged in on this browser.",
        "stale": "Your account has changed.",
    }
)
_SECONDS = 1.0
_A_MOMENT = 0.1  # until a server that counts milliseconds has no record any more


class WhyCard(NamedTuple):
    """Ends the session of a visitor whose browser keeps the cookie, as it then does."""

    @staticmethod
    def rules() -> list[Rule]:
        """Return the routes of its buttons."""
        ends = ("log_out", "revoke", "expire", "replace")
        return [
            Rule(f"/why/{name.replace('_', '-')}", methods=["POST"], endpoint=f"cards.why.{name}")
            for name in ends
        ]

    def log_out(self, request: DemoRequest) -> Response:
        """Log out as a request of another tab does, whose answer never arrives."""
        other = _other(request, "POST /logout")
        other.session.flush()
        return _ended(request, other)

    def revoke(self, request: DemoRequest) -> Response:
        """End it from outside, as a command does."""
        response = _leaving(request)
        if request.key is not None:
            request.sessions.manager.destroy(request.key, by=OPERATOR)
        return _settled(request, response)

    def expire(self, request: DemoRequest) -> Response:
        """Let it live for a second more, and wait for its end."""
        other = _other(request, "POST /why/expire")
        other.session.remember(_SECONDS)
        response = _ended(request, other)
        time.sleep(_SECONDS + _A_MOMENT)
        return response

    def replace(self, request: DemoRequest) -> Response:
        """Log another user in with it."""
        other = _other(request, "POST /login")
        other.session.login("Somebody else")
        return _ended(request, other)

    def render(self, _request: DemoRequest) -> Markup:
        """Return the card for a logged-in visitor."""
        return template("why.html")


def lost_page(request: DemoRequest) -> Response | None:
    """Return the way to the page that says why a visitor's session is not there, if it is known.

    The cookie is deleted by this response: so the page has the reason in its URL.
    """
    lost = None if WHY in request.args else request.session.lost
    if lost not in REASONS:
        return None
    location = f"/?{WHY}={lost}"  # a browser keeps the fragment
    return with_answers(Response.force_type(redirect(location, 303)), request.answers())


def render_ended(request: DemoRequest) -> Markup | None:
    """Return the card for a visitor whose session has ended, if the URL tells a reason."""
    why = request.args.get(WHY, "")
    if why not in REASONS:
        return None
    sentence = SENTENCES.get(why, "Please log in again.")
    name = request.cookies.get(ENDED_COOKIE) or f"Guest {secrets.token_hex(2)}"
    return template("why_ended.html").format(why=why, sentence=sentence, name=name)


def _other(request: DemoRequest, route: str) -> Transaction:
    """Return another request of the visitor's session."""
    _ = request.user
    return request.sessions.begin(get_transaction(request.environ).session_id, route=route)


def _ended(request: DemoRequest, other: Transaction) -> Response:
    response = _leaving(request)
    other.commit()
    other.close()
    return _settled(request, response)


def _leaving(request: DemoRequest) -> Response:
    response = request.see_page(WHY)
    response.set_cookie(ENDED_COOKIE, str(request.user), httponly=True, samesite="Lax")
    return response


def _settled(request: DemoRequest, response: Response) -> Response:
    """Have the trace written before the next page, which may be another worker's."""
    traces = request.sessions.manager.endings.traces
    if traces is not None:
        traces.settle()
    return response
