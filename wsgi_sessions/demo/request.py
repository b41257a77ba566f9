"""Requests and responses of the demonstration's handlers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from werkzeug.exceptions import BadRequest, Forbidden
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from wsgi_sessions import Session, get_session
from wsgi_sessions.http.environ import get_transaction
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions import Sessions
    from wsgi_sessions.contract import Backend

ANSWERS_COOKIE = "answers"
ANSWERS_KEPT = 5
SESSIONS_KEY = "demo.sessions"


class DemoRequest(Request):
    """A request with a session."""

    max_content_length = 16 * 1024

    @property
    def session(self) -> Session:
        """The visitor's session, read on first use."""
        return get_session(self.environ)

    @property
    def user(self) -> str | int:
        """The user who is logged in. Raises Forbidden (403) without one."""
        principal = self.session.principal
        if principal is None:
            raise Forbidden("Nobody is logged in: go back and log in.")
        return principal

    @property
    def key(self) -> str | None:
        """The store key of the visitor's session, if it is stored."""
        self.session.principal  # noqa: B018  # the session is read, and held, from here on
        snapshot = get_transaction(self.environ).snapshot
        return None if snapshot is None else snapshot.key

    @property
    def short_key(self) -> str:
        """The part of the key that may be shown; it changes with the cookie."""
        return "" if self.key is None else short_key(self.key)

    @property
    def sessions(self) -> Sessions:
        """All sessions of the application."""
        sessions: Sessions = self.environ[SESSIONS_KEY]
        return sessions

    @property
    def backend(self) -> Backend:
        """The session store."""
        return self.sessions.manager.backend

    def text(self, field: str, limit: int) -> str:
        """Return a required form field, cut to `limit` characters."""
        value = self.form.get(field, "").strip()[:limit]
        if not value:
            raise BadRequest(f"The field '{field}' is empty: go back and fill it in.")
        return value

    def answers(self) -> list[int]:
        """The workers that answered this visitor, newest first: this one, then the cookie's.

        They have a separate cookie, since it changes with every answer: reading the page should not
        store a session.
        """
        cookie = self.cookies.get(ANSWERS_COOKIE, "")
        before = [int(part) for part in cookie.split(".") if part.isdecimal() and len(part) < 11]
        return [os.getpid(), *before][:ANSWERS_KEPT]

    def see_page(self, part: str = "") -> Response:
        """Redirect to the page, so that reloading repeats nothing (RFC 9110, 303 See Other)."""
        location = f"/#{part}" if part else "/"
        return with_answers(Response.force_type(redirect(location, 303)), self.answers())


def answered(number: int) -> Response:
    """Return the answer to a request of the race, with the worker and its number."""
    return json_response({"worker": os.getpid(), "number": number})


def html(content: str) -> Response:
    """Return a page, or a part of it, that no cache may keep."""
    headers = {"Cache-Control": "no-store"}
    return Response(content, headers=headers, content_type="text/html; charset=utf-8")


def json_response(value: object, status: int = 200) -> Response:
    """Return JSON that no cache may keep."""
    body = json.dumps(value) + "\n"
    headers = {"Cache-Control": "no-store"}
    return Response(body, status, headers, content_type="application/json")


def with_answers(response: Response, answers: Iterable[int]) -> Response:
    """Add the cookie of the workers that answered to a response."""
    value = ".".join(str(worker) for worker in answers)
    response.set_cookie(ANSWERS_COOKIE, value, httponly=True, samesite="Lax")
    return response
