"""VersionMiddleware: stale sessions are refreshed at page loads, once, or they end."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit
from wsgiref.validate import validator

import pytest
from bodies import SHAPES, AsObject, as_empty_generator
from version_site import PAGE, SCRIPT, TEXT, VersionSite, seen
from wsgi_client import Browser, Response, call, environ_of

from wsgi_sessions.core.endings.steps import steps_of
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.http.environ import get_session
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.http.page_load import is_page_load
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.versions.login import next_of
from wsgi_sessions.versions.middleware import VersionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def site() -> VersionSite:
    return VersionSite()


# -- refreshing --------------------------------------------------------------------------------


def test_a_stale_session_is_refreshed_in_the_same_request(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.names["alice"] = "Alicia"
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert site.refreshed == {}
    site.stamps.bump("global")
    cookies = dict(browser.cookies)
    response = browser.get("/", **PAGE)
    assert seen(response) == {"name": "Alicia"}
    assert response.header("Set-Cookie") is None
    assert browser.cookies == cookies
    assert seen(browser.get("/", **PAGE)) == {"name": "Alicia"}
    assert site.refreshed == {"alice": 1}


def test_data_and_stamps_are_one_commit(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.names["alice"] = "Alicia"
    site.stamps.bump("global")
    browser.get("/", **PAGE)
    assert site.calls == {"load": 2, "save": 1}  # the second under the session's mutex


def test_keys_that_the_hook_leaves_out_go(site: VersionSite) -> None:
    browser = site.browser("alice")
    browser.get("/cart")
    site.stamps.bump("global")
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    browser.get("/cart")
    site.on_refresh = lambda session, _: {**session, "name": "kept"}
    site.stamps.bump("global")
    assert seen(browser.get("/", **PAGE)) == {"name": "kept", "cart": [1]}


def test_fresh_costs_no_store_call_of_its_own(site: VersionSite) -> None:
    browser = site.browser("alice")
    browser.get("/", **PAGE)
    assert site.calls == {"load": 1}
    asked = Counter[str]()
    current: Any = site.stamps.current

    def counted(scopes: Any) -> Any:
        asked["current"] += 1
        return current(scopes)

    cached = VersionSite(max_age=3600.0)
    other = cached.browser("alice")
    cached.stamps.current = counted  # type: ignore[method-assign]
    for _ in range(10):
        other.get("/", **PAGE)
    assert asked == {}
    assert cached.calls == {"load": 10}


def test_scripts_are_served_from_what_there_is(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.stamps.bump("global")
    site.names["alice"] = "Alicia"
    for headers in (SCRIPT, {"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}, {}):
        assert seen(browser.get("/", **headers)) == {"name": "Alice"}
    assert site.refreshed == {}
    site.calls.clear()
    assert browser.get("/null", **SCRIPT).status == 200
    assert site.calls == {}


def test_a_predicate_decides_in_place_of_the_headers() -> None:
    site = VersionSite(applies=lambda environ: environ["PATH_INFO"] == "/here")
    browser = site.browser("alice")
    site.stamps.bump("global")
    browser.get("/", **PAGE)
    assert site.refreshed == {}
    browser.get("/here", **SCRIPT)
    assert site.refreshed == {"alice": 1}


@pytest.mark.parametrize("reason", ["missing-field", "unstamped", "behind", "ahead", "invalid"])
def test_each_reason_refreshes_once_and_never_loops(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsgi_sessions")
    valid = True
    site = VersionSite(validate=lambda session, environ: valid or "new" in session)
    site.stamps.bump("global")
    browser = site.browser("alice")
    if reason == "missing-field":
        site.pages["/"] = lambda session: session.pop("name")
        browser.get("/")
        site.pages["/"] = dict
    elif reason == "unstamped":
        _unstamp(site, browser)
    elif reason == "behind":
        site.stamps.bump("global")
    elif reason == "ahead":
        _restore_the_database(site)
    else:
        valid = False
    site.on_refresh = lambda session, environ: {"name": "Alice", "new": True}
    for _ in range(3):
        assert seen(browser.get("/", **PAGE)) == {"name": "Alice", "new": True}
    assert site.refreshed == {"alice": 1}
    (key,) = site.records()
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("visit")]
    assert len(lines) == 2
    assert lines[0].startswith(f"refreshing stale session for {short_key(key)} ({reason}")
    assert lines[1] == f"refreshed session {short_key(key)}"
    (found,) = live_sessions(site.backend)
    assert [step.what for step in steps_of(found.envelope)] == ["rebuilt"]
    assert [e.name for e in site.events if e.name.startswith("version")] == ["version-refreshed"]


def _unstamp(site: VersionSite, browser: Browser) -> None:
    """As sessions are that were stored before there were stamps."""

    def handler(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["touched"] = True
        environ["wsgi_sessions.transaction"].draft().set_metadata("version stamps", None)
        start_response("200 OK", [*TEXT])
        return []

    site.handler = handler
    browser.get("/")
    site.handler = None


def _restore_the_database(site: VersionSite) -> None:
    stamps: Any = site.stamps
    stamps._bumps.clear()


def test_a_worker_that_knows_an_older_version_asks_before_it_believes_in_the_future() -> None:
    site = VersionSite(max_age=3600.0)
    browser = site.browser("alice")
    site.stamps.bump("global")
    other_worker = VersionMiddleware(
        site.serve, site.stamps, refresh=site.refresh, required=("name",), max_age=0.0
    )
    first, site.app.app = site.app.app, other_worker
    browser.get("/", **PAGE)
    assert site.refreshed == {"alice": 1}
    site.app.app = first  # whose cache still says 0
    browser.get("/", **PAGE)
    assert site.refreshed == {"alice": 1}


def test_several_scopes() -> None:
    site = VersionSite(scopes=("global", "league:{league_id}", "user:{principal}"))
    site.pages["/join"] = lambda session: session.update(league_id=5)
    site.on_refresh = lambda session, _: {**session}
    alice, bob = site.browser("alice"), site.browser("bob")
    alice.get("/join")
    for scope, who in (
        ("league:5", {"alice": 1}),
        ("league:6", {}),
        ("user:bob", {"bob": 1}),
        ("global", {"alice": 1, "bob": 1}),
    ):
        site.refreshed.clear()
        site.stamps.bump(scope)
        for _ in range(2):
            alice.get("/", **PAGE)
            bob.get("/", **PAGE)
        assert site.refreshed == who, scope


def test_a_refresh_that_moves_a_session_to_another_scope() -> None:
    site = VersionSite(scopes=("global", "league:{league_id}"))
    site.stamps.bump("league:9")
    site.on_refresh = lambda session, _: {"name": "Alice", "league_id": 9}
    browser = site.browser("alice")
    site.stamps.bump("global")
    for _ in range(4):
        browser.get("/", **PAGE)
    # The version of the new scope was not known before its data was read: once more, then no more.
    assert site.refreshed == {"alice": 2}


def test_a_bump_while_the_hook_runs_is_never_missed(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.stamps.bump("global")

    def reads_then_the_loader_commits(session: Any, environ: Any) -> dict[str, str]:
        values = {"name": site.names["alice"]}
        if site.refreshed["alice"] == 1:
            site.names["alice"] = "Alicia"
            site.stamps.bump("global")
        return values

    site.on_refresh = reads_then_the_loader_commits
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert seen(browser.get("/", **PAGE)) == {"name": "Alicia"}
    assert seen(browser.get("/", **PAGE)) == {"name": "Alicia"}
    assert site.refreshed == {"alice": 2}


def test_only_the_session_it_is_for_is_changed(site: VersionSite) -> None:
    alice, bob = site.browser("alice"), site.browser("bob")
    records = {key: site.backend.sessions.load(key) for key in site.records()}
    site.stamps.bump("global")
    site.names["alice"] = "Alicia"
    alice.get("/", **PAGE)
    changed = [key for key in records if site.backend.sessions.load(key) != records[key]]
    assert len(changed) == 1
    assert seen(bob.get("/", **SCRIPT)) == {"name": "Bob"}


# -- logging in --------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [PAGE, SCRIPT])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_login_is_stamped(headers: dict[str, str], method: str) -> None:
    site = VersionSite()
    site.stamps.bump("global")
    site.browser("bob").get("/", **PAGE)  # so that this worker knows the version
    browser = Browser(site.app)
    browser.get("/login/alice", method=method, **headers)
    browser.get("/", **PAGE)
    assert site.refreshed["alice"] == 0


def test_the_first_login_of_a_worker_is_stamped_too(site: VersionSite) -> None:
    site.stamps.bump("global")
    browser = Browser(site.app)
    browser.get("/cart", **PAGE)  # a visitor with a session, as one who comes back from a log-in
    browser.get("/login/alice", **PAGE)
    browser.get("/", **PAGE)
    posting = Browser(site.app)
    posting.get("/login/bob", method="POST", **PAGE)
    posting.get("/", **PAGE)
    assert site.refreshed == {}


def test_a_bump_during_a_log_in_is_never_missed(site: VersionSite) -> None:
    site.stamps.bump("global")
    browser = Browser(site.app)
    login = site.log_in

    def reads_then_the_loader_commits(session: Any, user: str) -> None:
        login(session, user)
        site.names[user] = "Alicia"
        site.stamps.bump("global")
        site.versions._rules.versions.fresh(["global"])  # another thread asks

    site.log_in = reads_then_the_loader_commits  # type: ignore[method-assign]
    browser.get("/login/alice", method="POST", **PAGE)
    assert seen(browser.get("/", **PAGE)) == {"name": "Alicia"}
    assert site.refreshed == {"alice": 1}


def test_a_login_with_a_required_key_alone() -> None:
    """Of applications that know of no principal."""
    site = VersionSite()
    site.pages["/enter"] = lambda session: session.update(name="Carol")
    site.on_refresh = lambda session, _: {"name": "Caroline"}
    browser = Browser(site.app)
    browser.get("/enter", method="POST", **PAGE)
    assert seen(browser.get("/", **PAGE)) == {"name": "Carol"}
    site.stamps.bump("global")
    assert seen(browser.get("/", **PAGE)) == {"name": "Caroline"}


def test_anonymous_sessions_are_never_refreshed(site: VersionSite) -> None:
    browser = Browser(site.app)
    browser.get("/cart", **PAGE)
    site.stamps.bump("global")
    assert seen(browser.get("/", **PAGE)) == {"cart": [1]}
    browser.get("/login/alice", **PAGE)
    browser.get("/logout", **PAGE)
    site.stamps.bump("global")
    assert seen(browser.get("/", **PAGE)) == {}
    assert site.refreshed == {}
    assert site.records() == []


def test_a_page_without_the_session_does_not_depend_on_the_cookie(site: VersionSite) -> None:
    def handler(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [b"public"]

    for browser in (Browser(site.app), site.browser("alice")):
        site.handler = handler
        assert browser.get("/", **PAGE).header("Vary") is None
        site.handler = None
    assert site.calls["load"] == 1  # of the visitor with a cookie


# -- ending ------------------------------------------------------------------------------------


def _raises(session: Any, environ: Any) -> Any:
    session["name"] = "half"
    raise KeyError("a-value-of-the-session")


def _becomes_bob(session: Any, environ: Any) -> Any:
    session.login("bob")
    return {"name": "Bob"}


def _leaves(session: Any, environ: Any) -> Any:
    session.flush()
    return {"name": "Alice"}


# What the hook does, and why the session ends.
FAILURES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "raises": (_raises, "raised KeyError"),
    "finds nobody": (lambda session, environ: None, "hook returned None"),
    "no mapping": (lambda session, environ: 7, "raised TypeError"),
    "leaves out a required key": (lambda session, environ: {"email": "x"}, "left out name"),
    "another principal": (_becomes_bob, "the owner of the session"),
    "logs out": (_leaves, "the owner of the session"),
    "no value": (lambda session, environ: {"name": object()}, "raised UnserializableValue"),
    "too large": (lambda session, environ: {"name": "x" * 5000}, "over its limit"),
    "still invalid": (lambda session, environ: {"name": "invalid"}, "do not validate"),
}


def _valid(session: Any, environ: Any) -> bool:
    return bool(session["name"] != "invalid")


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_failed_refresh_ends_the_session(how: str, method: str) -> None:
    site = VersionSite(validate=_valid, manager={"max_size": 4096})
    browser, bob = site.browser("alice"), site.browser("bob")
    cookie = browser.cookies["session"]
    site.on_refresh, why = FAILURES[how]
    site.stamps.bump("global")
    response = browser.get("/page", method=method, QUERY_STRING="a=1", **PAGE)
    assert response.status == 302
    expected = "/login" if method == "POST" else "/login?next=/page%3Fa%3D1"
    assert response.header("Location") == expected
    assert response.header("Cache-Control") == "no-store"
    assert browser.cookies == {}
    assert (response.body == b"") == (method == "HEAD")
    assert len(site.records()) == 1
    (said,) = site.ended()
    assert why in str(said)
    assert site.refreshed == {"alice": 1}
    # The cookie replayed is nobody's; the other session is as it was.
    assert seen(browser.get("/", cookie=f"session={cookie}", **PAGE)) == {}
    assert seen(bob.get("/", **SCRIPT)) == {"name": "Bob"}


@pytest.mark.parametrize("how", ["another principal", "logs out"])
def test_a_session_without_a_principal_can_belong_to_a_user(how: str) -> None:
    site = VersionSite()
    site.pages["/enter"] = lambda session: session.update(name="Carol")
    browser = Browser(site.app)
    browser.get("/enter", method="POST", **PAGE)
    site.on_refresh = FAILURES[how][0]
    site.stamps.bump("global")
    assert browser.get("/", **PAGE).status == 302
    assert site.records() == []


def test_without_a_hook_a_stale_session_ends() -> None:
    site = VersionSite(refresh=None)
    browser = site.browser("alice")
    site.stamps.bump("global")
    assert browser.get("/", **PAGE).header("Location") == "/login?next=/"
    assert site.records() == []


def test_a_principal_key_may_not_change() -> None:
    site = VersionSite(principal_key="user_id", manager={"principal_key": "user_id"})
    site.pages["/enter"] = lambda session: session.update(name="Carol", user_id=5)
    for user_id, status in ((5, 200), (6, 302), (None, 302)):
        browser = Browser(site.app)
        browser.get("/enter", **PAGE)
        values = {"name": "Caroline"} | ({} if user_id is None else {"user_id": user_id})
        site.on_refresh = lambda session, _, values=values: values
        site.stamps.bump("global")
        cookies = dict(browser.cookies)
        assert browser.get("/", **PAGE).status == status
        assert (browser.cookies == cookies) == (status == 200)


def test_a_client_that_wants_no_page_gets_401() -> None:
    site = VersionSite(applies=lambda environ: True, refresh=None)
    for headers in (SCRIPT, {"HTTP_ACCEPT": "application/json"}, {"HTTP_ACCEPT": "*/*"}):
        browser = Browser(site.app)
        browser.get("/login/alice", method="POST")
        site.stamps.bump("global")
        response = browser.get("/", **headers)
        assert response.status == 401
        assert response.header("Content-Type") == "application/json"
        assert response.header("WWW-Authenticate") == "Session"
        assert json.loads(response.body) == {"error": "login_required", "login_url": "/login"}
        assert browser.cookies == {}
    assert site.records() == []


def test_without_a_login_page_there_is_401_for_all() -> None:
    site = VersionSite(login_url=None, refresh=None)
    browser = site.browser("alice")
    site.stamps.bump("global")
    response = browser.get("/", **PAGE)
    assert response.status == 401
    assert json.loads(response.body) == {"error": "login_required"}


def test_the_login_page_is_shown_and_never_redirected_to_itself(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.on_refresh = lambda session, environ: None
    site.stamps.bump("global")
    assert seen(browser.get("/login", **PAGE)) == {}
    assert browser.cookies == {}
    assert site.records() == []


def test_not_now_keeps_the_session_and_serves_nothing_stale(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.stamps.bump("global")

    def not_now(session: Any, environ: Any) -> Any:
        session["name"] = "half"
        raise StoreUnavailable("the database restarts")

    site.on_refresh = not_now
    response = browser.get("/", **PAGE)
    assert response.status == 503
    assert response.header("Retry-After") == "1"
    site.on_refresh = None
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert site.ended() == []


@pytest.mark.parametrize("raised", [KeyError("x"), StoreUnavailable("x")])
def test_a_validate_hook_that_raises(raised: Exception) -> None:
    def validate(session: Any, environ: Any) -> bool:
        raise raised

    site = VersionSite(validate=validate)
    browser = site.browser("alice")
    is_fault = isinstance(raised, StoreUnavailable)
    assert browser.get("/", **PAGE).status == (503 if is_fault else 302)
    assert len(site.records()) == is_fault


def test_no_id_no_key_and_no_value_reaches_a_log(
    site: VersionSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wsgi_sessions")
    browser = site.browser("alice")
    value = browser.cookies["session"]
    (key,) = site.records()
    site.stamps.bump("global")
    browser.get("/", **PAGE)
    site.on_refresh = lambda session, environ: None
    site.stamps.bump("global")
    browser.get("/", **PAGE)
    assert "refreshing stale session" in caplog.text
    assert "hook returned None" in caplog.text
    for word in (value, value[:40], key, "Alice", "alice"):
        assert word not in caplog.text


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["refreshed", "ended"])
def test_many_requests_at_once_call_the_hook_once(outcome: str) -> None:
    site = VersionSite(manager={"waiters": 20})
    browser = site.browser("alice")
    cookie = f"session={browser.cookies['session']}"
    site.stamps.bump("global")
    barrier, under_way, may_end = threading.Barrier(21), threading.Event(), threading.Event()

    def slow(session: Any, environ: Any) -> Any:
        under_way.set()
        assert may_end.wait(20)
        return {"name": "Alicia"} if outcome == "refreshed" else None

    site.on_refresh = slow

    def load_page(_: int) -> Response:
        barrier.wait(20)
        return call(site.app, environ_of("/", cookie=cookie, **PAGE))

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(load_page, number) for number in range(20)]
        barrier.wait(20)
        assert under_way.wait(20)
        may_end.set()
        responses = [future.result() for future in futures]
    assert site.refreshed == {"alice": 1}
    if outcome == "refreshed":
        assert [seen(r) for r in responses] == [{"name": "Alicia"}] * 20
    else:
        assert {r.status for r in responses} <= {200, 302}  # 200: came too late to be stale
        assert {r.body for r in responses if r.status == 200} <= {b"{}"}
        assert site.records() == []
        cookies = [r.header("Set-Cookie") for r in responses if r.header("Set-Cookie")]
        assert cookies  # by the one that ended it, and by those that came when it was over
        assert all("Max-Age=0" in str(cookie) for cookie in cookies)


def test_a_request_that_waits_too_long_gets_503_and_nothing_stale() -> None:
    site = VersionSite(wait=0.01)
    browser = site.browser("alice")
    site.stamps.bump("global")
    (key,) = site.records()
    with site.manager.hold(key, 1):
        assert browser.get("/", **PAGE).status == 503
        assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert site.refreshed == {"alice": 1}


def test_a_change_by_an_overlapping_request_is_not_lost(site: VersionSite) -> None:
    browser = site.browser("alice")
    cookie = f"session={browser.cookies['session']}"
    site.stamps.bump("global")

    def meanwhile(session: Any, environ: Any) -> Any:
        assert call(site.app, environ_of("/cart", cookie=cookie, **SCRIPT)).status == 200
        return {"name": "Alicia"}

    site.on_refresh = meanwhile
    browser.get("/", **PAGE)
    assert seen(browser.get("/", **PAGE)) == {"name": "Alicia", "cart": [1]}


# -- faults ------------------------------------------------------------------------------------


def test_a_source_that_is_down_gives_no_500(site: VersionSite) -> None:
    browser = site.browser("alice")
    source: Any = site.stamps
    fault = StoreUnavailable("gone")

    def down(scopes: Any) -> Any:
        raise fault

    source.current = down
    for _ in range(3):
        assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    never_known = VersionSite()
    source = never_known.stamps
    source.current = down
    for user in ("alice", "bob"):
        assert seen(never_known.browser(user).get("/", **PAGE)) == {"name": user.title()}
    assert site.refreshed == never_known.refreshed == {}


def test_a_store_that_is_down_stops_only_requests_that_need_it(site: VersionSite) -> None:
    browser = site.browser("alice")
    site.fault = StoreUnavailable("down")
    assert browser.get("/", **PAGE).status == 503

    def public(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [b"public"]

    site.handler = public
    assert browser.get("/", **PAGE).body == b"public"


def test_a_store_that_fails_while_a_session_ends_serves_nothing(site: VersionSite) -> None:
    browser = site.browser("alice")

    def fails(session: Any, environ: Any) -> Any:
        site.fault = StoreUnavailable("down")

    site.on_refresh = fails
    site.stamps.bump("global")
    assert browser.get("/", **PAGE).status == 503
    site.fault = site.on_refresh = None
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert site.refreshed == {"alice": 2}


def test_outside_of_a_session_middleware_it_says_what_to_do() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        return []

    with pytest.raises(LookupError, match="wrap the application"):
        call(VersionMiddleware(app, open_memory().versions), environ_of("/"))  # type: ignore[arg-type]


# -- page loads --------------------------------------------------------------------------------

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "document"}, True),
        ({"SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "iframe"}, True),
        ({"SEC_FETCH_MODE": "navigate"}, True),
        ({"SEC_FETCH_MODE": "navigate", "SEC_FETCH_DEST": "object"}, False),
        ({"SEC_FETCH_MODE": "no-cors", "SEC_FETCH_DEST": "image"}, False),
        ({"SEC_FETCH_MODE": "cors", "SEC_FETCH_DEST": "empty", "ACCEPT": HTML}, False),
        ({"SEC_FETCH_MODE": "websocket"}, False),
        ({"SEC_FETCH_MODE": "", "ACCEPT": HTML}, False),
        (
            {
                "SEC_FETCH_MODE": "navigate",
                "SEC_FETCH_DEST": "document",
                "X_REQUESTED_WITH": "XMLHttpRequest",
                "ACCEPT": "application/json",
            },
            True,
        ),
        ({"X_REQUESTED_WITH": "XMLHttpRequest", "ACCEPT": HTML}, False),
        ({"X_REQUESTED_WITH": "com.example.browser", "ACCEPT": HTML}, True),
        ({"ACCEPT": HTML}, True),
        ({"ACCEPT": "TEXT/HTML"}, True),
        ({"ACCEPT": "application/xhtml+xml ; q=0.5"}, True),
        ({"ACCEPT": "text/html;q=0"}, False),
        ({"ACCEPT": "text/html; q=0.000, */*"}, False),
        ({"ACCEPT": "*/*"}, False),
        ({"ACCEPT": "application/json"}, False),
        ({"ACCEPT": ""}, False),
        ({"ACCEPT": ";;,,text/htm"}, False),
        ({}, False),
    ],
)
def test_what_is_a_page_load(headers: dict[str, str], expected: bool) -> None:
    assert is_page_load({f"HTTP_{name}": value for name, value in headers.items()}) is expected


# -- where to go after the log-in --------------------------------------------------------------


def wanted(path: str, query: str = "", script: str = "", method: str = "GET") -> str | None:
    return next_of(
        {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": script,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_HOST": "evil.example",
        }
    )


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/", "", "/"),
        ("/a/b", "x=1&y=%2F", "/a/b?x=1&y=%2F"),
        ("/a b", "", "/a%20b"),
        ("/é".encode().decode("latin-1"), "", "/%C3%A9"),
        ("/100%", "", "/100%25"),
        ("/%2f/evil.example", "", "/%252f/evil.example"),
        ("/a?b#c", "", "/a%3Fb%23c"),
        ("/a", "x=é".encode().decode("latin-1"), "/a?x=%C3%A9"),
        ("/a", 'x="<>', "/a?x=%22%3C%3E"),
        ("/@evil.example", "", "/@evil.example"),
        ("/a", "next=//evil.example", "/a?next=//evil.example"),
    ],
)
def test_the_way_back(path: str, query: str, expected: str) -> None:
    assert wanted(path, query) == expected


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\r\nLocation: //evil.example",
        "/..//evil.example",
        "/a//evil.example",
        "http://evil.example/",
        "evil.example",
        "javascript:alert(1)",
        "",
        "*",
        "/\x00",
        "/\x7f",
        "/€",
        "/" + "a" * 3000,
    ],
)
def test_no_way_back_leads_elsewhere(path: str) -> None:
    assert wanted(path) is None
    site = VersionSite(refresh=None)
    browser = site.browser("alice")
    site.stamps.bump("global")
    response = browser.get(path, **PAGE)
    assert response.header("Location") == "/login"


def test_a_way_back_stays_on_this_host_whatever_is_asked_for() -> None:
    alphabet = ["/", "\\", "\t", ":", "@", "..", "evil.example", "%5c", "%2f", "?", "#", "."]
    for first in alphabet:
        for second in alphabet:
            for third in alphabet:
                back = wanted(f"/{first}{second}{third}", f"{third}{first}")
                if back is not None:
                    parts = urlsplit(urljoin("https://own.example/login", back))
                    assert (parts.scheme, parts.netloc) == ("https", "own.example"), back
                    assert not back.startswith("//")


def test_the_mount_point_is_part_of_the_way_back_and_forms_have_none() -> None:
    assert wanted("/a", script="/app") == "/app/a"
    assert wanted("/evil.example", script="/") is None
    assert wanted("/a", "x=1\r\ny") is None
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert wanted("/a", method=method) is None


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/login", "/login?next=/page%3Fa%3D1"),
        ("/login?lang=de", "/login?lang=de&next=/page%3Fa%3D1"),
        ("https://id.example/in", "https://id.example/in?next=/page%3Fa%3D1"),
    ],
)
def test_where_the_login_page_is(url: str, location: str) -> None:
    site = VersionSite(refresh=None, login_url=url)
    browser = site.browser("alice")
    site.stamps.bump("global")
    response = browser.get("/page", QUERY_STRING="a=1", **PAGE)
    assert response.header("Location") == location
    assert parse_qs(urlsplit(location).query)["next"] == ["/page?a=1"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "ftp://x/",
        "/a b",
        "/a\r\nb",
        "/a#b",
        "https://",
        "/é",
    ],
)
def test_a_login_url_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="login URL"):
        VersionSite(login_url=url)


# -- PEP 3333 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("state", ["visitor", "fresh", "stale", "ended"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_shape_of_response_is_valid_inside_and_outside(
    shape: Any, state: str, method: str
) -> None:
    site = VersionSite()
    cookie = f"session={site.browser('alice').cookies['session']}" if state != "visitor" else None
    if state in ("stale", "ended"):
        site.stamps.bump("global")
    if state == "ended":
        site.on_refresh = lambda session, environ: None
    site.handler = validator(shape)
    closed = AsObject.closed
    environ = environ_of("/", method, QUERY_STRING="", cookie=cookie, **PAGE)
    between = SessionMiddleware(validator(site.versions), site.manager, site.app.cookie)
    response = call(validator(between), environ)
    if state == "ended":
        assert response.status == 302
        return
    assert response.status == 200
    assert response.body == (b"" if shape is as_empty_generator else b"body")
    assert AsObject.closed == closed + (shape is AsObject)
    assert site.refreshed["alice"] == (state == "stale")


@pytest.mark.parametrize("state", ["fresh", "stale"])
def test_the_application_s_body_is_passed_on_as_it_is(site: VersionSite, state: str) -> None:
    cookie = f"session={site.browser('alice').cookies['session']}"
    if state == "stale":
        site.stamps.bump("global")
    body = [b"x"]

    def handler(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return body

    site.handler = handler
    assert site.app(environ_of("/", cookie=cookie, **PAGE), lambda *_: lambda _: None) is body
