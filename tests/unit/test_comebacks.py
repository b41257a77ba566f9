"""Cookies that never come back are told of, once."""

from __future__ import annotations

from typing import Any

import pytest
from overlapping import SECRET, cookie_in
from wsgi_client import call, environ_of

from wsgi_sessions import Config, Event, build, get_session
from wsgi_sessions.http.cookies.comebacks import ENOUGH
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

HTTPS = {"wsgi.url_scheme": "https", "HTTP_HOST": "shop.example.org"}
FRAME = {**HTTPS, "HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "iframe"}


class ReturningShop:
    """Begins a session with each request that has none."""

    def __init__(self, **policy: Any) -> None:
        self.events: list[Event] = []
        config = Config(
            url="memory://",
            secret_keys=(SECRET,),
            sweep_interval=None,
            cookie=CookiePolicy(**policy),
        )
        self.stack = build(self._app, config, on_event=self.events.append)

    def visit(self, times: int, cookie: str | None = None, **more: Any) -> str:
        """The last cookie."""
        for _ in range(times):
            response = call(self.stack, environ_of("/", cookie=cookie, **more))
        return "" if cookie else cookie_in(response)

    def reasons(self) -> list[str]:
        return [str(e.facts["reason"]) for e in self.events if e.name == "cookie-lost"]

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ)["seen"] = True
        start_response("200 OK", [])
        return [b""]


@pytest.mark.parametrize(
    ("policy", "environ", "reason"),
    [
        ({"secure": "always"}, {}, "plain http"),
        ({"name": "__Host-session"}, {}, "plain http"),
        ({"secure": "always"}, HTTPS, "do the clients keep cookies?"),
        ({}, FRAME, "in a frame of another site"),
    ],
)
def test_it_is_reported_once_with_the_reason(
    policy: dict[str, Any], environ: dict[str, str], reason: str
) -> None:
    shop = ReturningShop(**policy)
    shop.visit(ENOUGH - 1, **environ)
    assert shop.reasons() == []
    shop.visit(3 * ENOUGH, **environ)
    (told,) = shop.reasons()
    assert reason in told


def test_one_that_comes_back_settles_it() -> None:
    shop = ReturningShop()
    cookie = shop.visit(ENOUGH - 1, **HTTPS)
    shop.visit(1, cookie, **HTTPS)
    shop.visit(3 * ENOUGH, **HTTPS)
    assert shop.reasons() == []


def test_a_cookie_that_is_not_ours_settles_nothing() -> None:
    shop = ReturningShop()
    for _ in range(ENOUGH):
        shop.visit(1, **HTTPS)
        shop.visit(1, "session=forged.signature", **HTTPS)
    assert len(shop.reasons()) == 1
