"""Admission to the console: a token in the printed URL, then a cookie; and a token in each form.

All three come from one random secret, which lives as long as the process. They are compared in
constant time. The cookie leads nowhere but to the console's own path: browsers send a cookie to
every port of a host (RFC 6265, section 8.5), so another server on this machine could be sent it.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from wsgi_sessions import texts

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

PATH = "/console"
COOKIE = "wsgi_sessions_console"


def new_token() -> str:
    """Return a new token for the URL: 256 random bits."""
    return secrets.token_urlsafe(32)


@texts.shows()
class Admission:
    """Tells who may look, and which forms are the console's own, by the `token` of the URL."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._cookie = self._derived("cookie")
        self.form_token = self._derived("form")
        """The value of the field ``token`` in forms; a page of another site cannot know it."""

    def knows(self, token: str | None) -> bool:
        """Return whether this is the token of the printed URL."""
        return _are_equal(token, self._token)

    def lets_in(self, request: Request) -> bool:
        """Return whether a request has the cookie."""
        return _are_equal(request.cookies.get(COOKIE), self._cookie)

    def is_own_form(self, request: Request) -> bool:
        """Return whether a form was sent from a page of the console."""
        return _are_equal(request.form.get("token"), self.form_token)

    def give_cookie(self, response: Response) -> None:
        """Have the browser keep the cookie until it is closed."""
        response.set_cookie(COOKIE, self._cookie, path=PATH, httponly=True, samesite="Strict")

    def _derived(self, use: str) -> str:
        return hmac.digest(self._token.encode(), use.encode(), "sha256").hex()


def _are_equal(given: str | None, expected: str) -> bool:
    return given is not None and hmac.compare_digest(texts.as_bytes(given), expected.encode())
