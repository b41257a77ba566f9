"""A request outside of the cookie's path or domain begins no session; dead cookies are deleted."""

from __future__ import annotations

from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import flask
import pytest
from overlapping import SECRET, cookie_in
from wsgi_client import call, environ_of

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.cookies.reach import why_out_of_reach
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from wsgi_client import Response

    from wsgi_sessions.core.events import Event


class Pages:
    """``…/write`` and ``…/login`` change the session, all others look at it."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[Event] = []
        config = Config(
            url="memory://",
            secret_keys=(SECRET,),
            sweep_interval=None,
            cookie=CookiePolicy(**settings),
        )
        self.stack = build(self._app, config, on_event=self.events.append)

    def get(self, path: str, cookie: str | None = None, **more: Any) -> Response:
        return call(self.stack, environ_of(path, cookie=cookie, **more))

    def dropped(self) -> list[str]:
        return [str(e.facts["reason"]) for e in self.events if e.name == "dropped"]

    def sessions(self) -> int:
        return self.stack.manager.backend.iteration.count()

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        session, path = get_session(environ), environ["PATH_INFO"]
        if path.endswith("/write"):
            session["n"] = session.get("n", 0) + 1
        elif path.endswith("/login"):
            session.login("alice")
        elif path.endswith("/logout"):
            session.flush()
        elif path.endswith("/asks"):
            session.cycle_id()
            session["n"] = 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(dict(session)).encode()]


# -- where a session may begin ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/write", "/application/write", "/login"])
def test_outside_of_the_cookie_s_path_no_session_begins(path: str) -> None:
    pages = Pages(path="/app")
    users = cookie_in(pages.get("/app/write"))
    assert pages.get(path).header("Set-Cookie") is None
    assert pages.sessions() == 1
    (reason,) = pages.dropped()
    assert "outside of the cookie's path" in reason
    assert pages.get("/app/read", users).body == b"{'n': 1}"


@pytest.mark.parametrize("path", ["/app", "/app/", "/app/write"])
def test_inside_of_it_one_begins(path: str) -> None:
    pages = Pages(path="/app")
    pages.get(path)
    assert pages.dropped() == []
    assert cookie_in(pages.get("/app/write")).startswith("session=")


def test_a_cookie_that_does_come_back_there_goes_on() -> None:
    """As behind a proxy that takes a prefix off."""
    pages = Pages(path="/app")
    cookie = cookie_in(pages.get("/app/write"))
    assert pages.get("/write", cookie).body == b"{'n': 2}"
    changed = pages.get("/login", cookie)
    new = [value.partition(";")[0] for name, value in changed.headers if name == "Set-Cookie"][-1]
    assert len(new) > len("session=")
    ended = pages.get("/logout", new)
    assert any("Max-Age=0" in value for name, value in ended.headers if name == "Set-Cookie")
    assert pages.dropped() == []


@pytest.mark.parametrize(
    ("environ", "covered"),
    [
        ({"PATH_INFO": "/x"}, False),
        ({"PATH_INFO": "/x", "SCRIPT_NAME": "/app"}, True),
        ({"PATH_INFO": "", "SCRIPT_NAME": "/app"}, True),
        ({"PATH_INFO": "/x", "HTTP_X_FORWARDED_PREFIX": "/app/"}, True),
        ({"PATH_INFO": "/x", "HTTP_X_FORWARDED_PREFIX": "/other"}, False),
    ],
)
def test_a_prefix_counts_in_every_form(environ: dict[str, str], *, covered: bool) -> None:
    reason = why_out_of_reach(environ, CookiePolicy(path="/app"), environ["PATH_INFO"])
    assert (reason is None) == covered


def test_a_path_that_is_rewritten_inside_counts_as_the_browser_sees_it() -> None:
    environ = {"PATH_INFO": "/internal/x"}
    assert why_out_of_reach(environ, CookiePolicy(path="/app"), "/app/x") is None


@pytest.mark.parametrize(
    ("host", "forwarded", "covered"),
    [
        ("example.org", "", True),
        ("WWW.Example.org:8000", "", True),
        ("example.net", "", False),
        ("notexample.org:80", "", False),
        ("internal.example.net", "www.example.org", True),
        ("127.0.0.1:8000", "", True),  # a proxy's name for its backend tells nothing
        ("[::1]:8000", "", True),
        ("backend", "", True),
        ("", "", True),
    ],
)
def test_a_domain_covers_its_hosts(host: str, forwarded: str, *, covered: bool) -> None:
    environ = {"HTTP_HOST": host, "PATH_INFO": "/", "HTTP_X_FORWARDED_HOST": forwarded}
    reason = why_out_of_reach(environ, CookiePolicy(domain=".example.org"), "/")
    assert (reason is None) == covered


def test_outside_of_the_cookie_s_domain_no_session_begins() -> None:
    pages = Pages(domain="example.org")
    assert pages.get("/write", HTTP_HOST="other.example").header("Set-Cookie") is None
    assert pages.sessions() == 0
    assert "outside of the cookie's domain" in pages.dropped()[0]
    assert pages.get("/write", HTTP_HOST="www.example.org").header("Set-Cookie")


def test_in_flask_the_cookie_path_counts_too() -> None:
    app = flask.Flask("shop")
    app.config.update(
        SECRET_KEY=SECRET,
        SESSION_COOKIE_PATH="/app",
        WSGI_SESSIONS_URL="memory://",
        WSGI_SESSIONS_SWEEP_INTERVAL="off",
    )
    interface = WSGISessions(app)

    @app.get("/<path:path>")
    def page(path: str) -> str:
        flask.session["path"] = path
        return path

    outside, inside = (app.test_client().get(path) for path in ("/other/x", "/app/x"))
    assert (outside.status_code, "Set-Cookie" in outside.headers) == (200, False)
    assert "Set-Cookie" in inside.headers
    assert interface.manager(app).events.counts()["dropped"] == 1


# -- what another site sends -----------------------------------------------------------------------

FORM = {
    "method": "POST",
    "HTTP_SEC_FETCH_SITE": "cross-site",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_DEST": "document",
}


def test_a_form_of_another_site_begins_no_session_in_place_of_the_user_s() -> None:
    pages = Pages()
    users = cookie_in(pages.get("/write"))
    assert pages.get("/write", **FORM).header("Set-Cookie") is None
    assert pages.sessions() == 1
    (reason,) = pages.dropped()
    assert "another site sent this form" in reason
    assert "redirect (303)" in reason
    assert pages.get("/read", users).body == b"{'n': 1}"
    assert pages.get("/write", users, **FORM).body == b"{'n': 2}", (
        "where the cookie comes, it counts"
    )


@pytest.mark.parametrize("path", ["/login", "/asks"])
def test_a_route_that_asks_begins_one_all_the_same(path: str) -> None:
    pages = Pages()
    cookie = cookie_in(pages.get(path, **FORM))
    assert pages.dropped() == []
    assert pages.sessions() == 1
    assert pages.get("/write", cookie, **FORM).status == 200


@pytest.mark.parametrize(
    "other",
    [
        {"method": "GET"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": "same-origin"},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"HTTP_SEC_FETCH_MODE": "cors"},
        {"HTTP_SEC_FETCH_SITE": ""},
    ],
)
def test_any_other_request_begins_one(other: dict[str, str]) -> None:
    pages = Pages()
    assert cookie_in(pages.get("/write", **{**FORM, **other}))
    assert pages.dropped() == []


def test_a_cookie_that_other_sites_may_send_is_not_missed() -> None:
    pages = Pages(samesite="None", secure="always")
    assert cookie_in(pages.get("/write", **FORM))


def test_in_flask_too() -> None:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://")
    WSGISessions(app)

    @app.post("/back")
    def back() -> str:
        flask.flash("paid")
        return "ok"

    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert "Set-Cookie" not in app.test_client().post("/back", headers=headers).headers
    assert "Set-Cookie" in app.test_client().post("/back").headers


# -- how long the cookie lasts ---------------------------------------------------------------------


class Timed:
    """One page on a clock of its own, which does what `act` says."""

    def __init__(self, idle: float = 600.0, absolute: float = 6000.0) -> None:
        self.now = 1_900_000_000.5
        self.act: Any = looks
        self.manager = SessionManager(
            open_memory(clock=lambda: self.now),
            lifetimes=Lifetimes(idle, absolute),
            clock=lambda: self.now,
        )
        cookie = SessionCookie(CookiePolicy(), IdSigner([SECRET]))
        self.app = SessionMiddleware(self._page, self.manager, cookie)

    def get(self, cookie: str | None, act: Any) -> Response:
        self.act = act
        return call(self.app, environ_of("/", cookie=cookie))

    def _page(self, environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        seen = self.act(session)
        start_response("200 OK", [])
        return [repr(seen).encode()]


def lasting(response: Response) -> tuple[int, float]:
    """Max-Age, and Expires in seconds since the epoch."""
    (morsel,) = SimpleCookie(response.header("Set-Cookie") or "").values()
    return int(morsel["max-age"]), parsedate_to_datetime(morsel["expires"]).timestamp()


def begin(asked: float) -> Any:
    def act(session: Any) -> None:
        session.remember(asked)
        session["n"] = 1

    return act


def always(session: Any) -> None:
    """As an application does that renews the cookie with each response."""
    session._source.renewal = "always"
    _ = session.get("n")


@pytest.mark.parametrize("asked", [600.0, 10 * 86400.0])
def test_max_age_and_expires_agree_and_end_with_the_session(asked: float) -> None:
    site = Timed(idle=3600.0, absolute=7 * 86400.0)
    response = site.get(None, begin(asked))
    cookie = cookie_in(response)
    for seconds in (0.0, 10.0, 25.0, 500.0):
        site.now += seconds
        if seconds:
            response = site.get(cookie, always)
        max_age, expires = lasting(response)
        (key,) = site.manager.backend.iteration.keys()
        record = site.manager.backend.sessions.load(key)
        assert record is not None
        assert 0 <= record.expires_at - expires < 1
        assert abs(record.expires_at - (site.now + max_age)) < 1


# -- cookies of sessions that are over -------------------------------------------------------------


def looks(session: Any) -> dict[str, Any]:
    return dict(session)


def is_deleted(response: Response) -> bool:
    return "Max-Age=0" in (response.header("Set-Cookie") or "")


@pytest.mark.parametrize("over", ["expired", "past its end", "deleted"])
def test_a_well_signed_cookie_of_a_session_that_is_over_is_deleted(over: str) -> None:
    site = Timed(idle=600.0, absolute=6000.0)
    cookie = cookie_in(site.get(None, begin(500.0)))
    if over == "deleted":
        for key in [*site.manager.backend.iteration.keys()]:
            site.manager.destroy(key)
    site.now += 0 if over == "deleted" else 700 if over == "expired" else 7000
    untouched = site.get(cookie, lambda _: None)
    assert untouched.header("Set-Cookie") is None, "nobody looked at the session"
    assert is_deleted(site.get(cookie, looks))


def test_a_cookie_that_does_not_verify_is_left_alone() -> None:
    site = Timed()
    assert site.get("session=whatever", looks).header("Set-Cookie") is None
    assert site.get(None, looks).header("Set-Cookie") is None


def test_a_new_session_takes_the_place_of_the_dead_cookie() -> None:
    site = Timed(idle=600.0)
    cookie = cookie_in(site.get(None, begin(500.0)))
    site.now += 700
    response = site.get(cookie, begin(500.0))
    assert cookie_in(response) not in ("", cookie)
    assert not is_deleted(response)


def test_a_request_that_a_log_in_superseded_deletes_no_cookie() -> None:
    site = Timed()
    old = cookie_in(site.get(None, begin(500.0)))
    new = cookie_in(site.get(old, lambda session: session.login("alice")))
    for act in (looks, begin(500.0), always):
        assert site.get(old, act).header("Set-Cookie") is None
    assert site.get(new, looks).body == b"{'n': 1}"


def test_a_store_that_does_not_answer_costs_no_cookie() -> None:
    site = Timed()
    cookie = cookie_in(site.get(None, begin(500.0)))

    def refuse(_: str) -> Any:
        raise StoreUnavailable("down")

    sessions: Any = site.manager.backend.sessions
    sessions.load = refuse

    def looks_and_goes_on(session: Any) -> None:
        with suppress(StoreUnavailable):
            looks(session)

    assert site.get(cookie, looks_and_goes_on).header("Set-Cookie") is None
    assert site.get(cookie, looks).header("Set-Cookie") is None
