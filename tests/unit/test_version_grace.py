"""What loads no page is served from a stale session for a grace time, and then no more."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from version_site import PAGE, SCRIPT, VersionSite, seen

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.environ import get_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_client import Browser, Response

CLIENTS: list[dict[str, str]] = [SCRIPT, {"HTTP_ACCEPT": "*/*"}, {}]


class StampClock:
    """The time of the whole process."""

    def __init__(self) -> None:
        self.now = time.time()

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StampClock:
    clock = StampClock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def nobody(session: Any, environ: Any) -> None:
    """A refresh hook: rights were revoked."""


def refused(response: Response) -> bool:
    if response.status != 401:
        return False
    assert json.loads(response.body) == {"error": "session_stale", "login_url": "/login"}
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Set-Cookie") is None
    return True


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stale_session_serves_scripts_for_the_grace_time(
    clock: StampClock, client: dict[str, str], method: str
) -> None:
    site = VersionSite(refresh=nobody)
    browser = site.browser("alice")
    clock.pass_by(500)
    assert seen(browser.get("/", method=method, **client)) == {"name": "Alice"}
    site.stamps.bump("global")
    for seconds, is_served in ((0, True), (59, True), (2, False), (1000, False)):
        clock.pass_by(seconds)
        response = browser.get("/", method=method, **client)
        assert refused(response) != is_served
    assert len(site.records()) == 1, "the next page load decides"
    assert browser.get("/", **PAGE).status == 302
    assert site.records() == []


def test_more_bumps_prolong_nothing(clock: StampClock) -> None:
    site = VersionSite()
    browser = site.browser("alice")
    for number in range(10):
        site.stamps.bump("global")
        assert refused(browser.get("/", **SCRIPT)) == (number >= 6), number
        clock.pass_by(10)


def test_a_page_load_makes_it_well_again(clock: StampClock) -> None:
    site = VersionSite()
    browser = site.browser("alice")
    site.stamps.bump("global")
    clock.pass_by(61)
    assert refused(browser.get("/", **SCRIPT))
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}


@pytest.mark.parametrize("scopes", [("global",), (), lambda session: ["global"]])
def test_rights_have_no_grace(clock: StampClock, scopes: Any) -> None:
    site = VersionSite(scopes=scopes, rights=("user:{principal}",), refresh=nobody)
    alice, bob = site.browser("alice"), site.browser("bob")
    site.stamps.bump("user:alice")
    assert refused(alice.get("/", **SCRIPT))
    assert seen(bob.get("/", **SCRIPT)) == {"name": "Bob"}


def test_the_grace_time_is_a_setting(clock: StampClock) -> None:
    site = VersionSite(grace=5.0)
    browser = site.browser("alice")
    site.stamps.bump("global")
    clock.pass_by(4)
    assert not refused(browser.get("/", **SCRIPT))
    clock.pass_by(2)
    assert refused(browser.get("/", **SCRIPT))
    none = VersionSite(grace=0.0)
    other = none.browser("alice")
    none.stamps.bump("global")
    assert refused(other.get("/", **SCRIPT))


def test_a_fresh_session_costs_no_store_call_more(clock: StampClock) -> None:
    site = VersionSite(max_age=3600.0)
    browser = site.browser("alice")
    asked: list[str] = []
    for name in ("current", "history"):
        setattr(site.stamps, name, lambda *_, name=name: asked.append(name))
    for _ in range(5):
        browser.get("/", **SCRIPT)
        browser.get("/null", **SCRIPT)  # which leaves its session alone
    assert site.calls == {"load": 5}
    assert asked == []


def test_a_request_that_leaves_the_session_alone_is_served(clock: StampClock) -> None:
    site = VersionSite(grace=0.0)
    browser = site.browser("alice")
    site.stamps.bump("global")
    assert browser.get("/null", **SCRIPT).status == 200
    assert site.calls == {}


def test_visitors_are_never_stale(clock: StampClock) -> None:
    site = VersionSite(grace=0.0)
    browser = site.browser()
    assert browser.get("/cart", **SCRIPT).status == 200
    site.stamps.bump("global")
    assert seen(browser.get("/", **SCRIPT)) == {"cart": [1]}


def stale(site: VersionSite, clock: StampClock) -> Browser:
    browser = site.browser("alice")
    browser.get("/cart", **SCRIPT)
    clock.pass_by(100)
    site.stamps.bump("global")
    clock.pass_by(61)
    return browser


def test_the_application_sees_an_anonymous_visitor_and_nothing_is_stored(clock: StampClock) -> None:
    site, found = VersionSite(), []
    browser = stale(site, clock)
    (before,) = site.records()
    record = site.backend.sessions.load(before)

    def look(session: Any) -> None:
        found.append((dict(session), session.principal, session.new))
        session["cart"] = [2]
        session.cycle_id()
        with session.exclusive():
            session["cart"].append(3)
        session.commit()

    site.pages["/look"] = look
    assert refused(browser.get("/look", **SCRIPT))
    assert found == [({}, None, True)]
    assert site.backend.sessions.load(before) == record
    assert site.records() == [before]
    events = [event.name for event in site.events]
    assert events.count("version-refused") == 1
    assert events.count("dropped") == 1


def test_a_log_out_takes_place(clock: StampClock) -> None:
    site = VersionSite()
    browser = stale(site, clock)
    assert browser.get("/logout", method="POST", **SCRIPT).status == 200
    assert site.records() == []
    assert browser.cookies == {}


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_log_in_takes_place_and_ends_the_stale_session(clock: StampClock, user: str) -> None:
    site = VersionSite()
    browser = stale(site, clock)
    (before,) = site.records()
    assert browser.get(f"/login/{user}", method="POST", **SCRIPT).status == 200
    (after,) = site.records()
    assert after != before
    assert seen(browser.get("/", **SCRIPT)) == {"name": site.names[user]}, "without the old cart"
    assert [e.name for e in site.events].count("destroyed") == 1


def test_a_log_in_by_the_principal_key(clock: StampClock) -> None:
    site = VersionSite(principal_key="user", required=(), manager={"principal_key": "user"})
    site.pages["/in"] = lambda session: session.update(user="alice")
    browser = site.browser()
    browser.get("/in", method="POST", **SCRIPT)
    (before,) = site.records()
    clock.pass_by(100)
    site.stamps.bump("global")
    clock.pass_by(61)
    assert refused(browser.get("/", **SCRIPT))
    assert browser.get("/in", method="POST", **SCRIPT).status == 200
    (after,) = site.records()
    assert after != before
    assert seen(browser.get("/", **SCRIPT)) == {"user": "alice"}


@pytest.mark.parametrize("max_age", [0.0, 1.0])
@pytest.mark.parametrize("rights", [(), ("user:{principal}",)])
def test_a_log_in_by_a_script_needs_no_page_load(
    clock: StampClock, max_age: float, rights: tuple[str, ...]
) -> None:
    """Also in a process that has not asked for the user's versions before."""
    site = VersionSite(scopes=("user:{principal}", "global"), rights=rights, max_age=max_age)
    for _ in range(3):
        site.stamps.bump("user:alice")
    clock.pass_by(601)
    browser = site.browser()
    assert browser.get("/login/alice", method="POST", **SCRIPT).status == 200
    for _ in range(3):
        assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}
        clock.pass_by(100)


@pytest.mark.parametrize("rights", [(), ("user:{principal}",)])
def test_a_log_in_soon_after_a_bump_has_its_grace_time(
    clock: StampClock, rights: tuple[str, ...]
) -> None:
    """Nobody can tell whether it was before: see `BumpTimes.missed_after`."""
    site = VersionSite(scopes=("user:{principal}",), rights=rights)
    site.stamps.bump("user:alice")
    clock.pass_by(100)
    browser = site.browser()
    assert browser.get("/login/alice", method="POST", **SCRIPT).status == 200
    clock.pass_by(59)
    assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}
    clock.pass_by(2)
    assert refused(browser.get("/", **SCRIPT))
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}


def test_a_bump_after_such_a_log_in_counts(clock: StampClock) -> None:
    site = VersionSite(scopes=("league:1",), rights=("user:{principal}",))
    for scope in ("user:alice", "league:1"):
        site.stamps.bump(scope)
    clock.pass_by(1000)
    browser = site.browser()
    assert browser.get("/login/alice", method="POST", **SCRIPT).status == 200
    clock.pass_by(1000)
    site.stamps.bump("league:1")
    clock.pass_by(59)
    assert seen(browser.get("/", **SCRIPT)) == {"name": "Alice"}
    clock.pass_by(2)
    assert refused(browser.get("/", **SCRIPT))
    assert seen(browser.get("/", **PAGE)) == {"name": "Alice"}
    other = site.browser()
    site.stamps.bump("user:bob")
    clock.pass_by(1000)
    assert other.get("/login/bob", method="POST", **SCRIPT).status == 200
    clock.pass_by(1)
    site.stamps.bump("user:bob")
    assert refused(other.get("/", **SCRIPT))


def raises(environ: Any, start_response: Any) -> Any:
    return [get_session(environ)["name"].encode()]


def answers_500(environ: Any, start_response: Any) -> Any:
    get_session(environ).get("name")
    start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
    return [b"oh"]


def streams(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield get_session(environ).get("name", "nobody").encode()
    yield b"more"


@pytest.mark.parametrize("handler", [raises, answers_500, streams])
def test_an_application_that_fails_without_the_session(
    clock: StampClock, handler: Callable[..., Any]
) -> None:
    site = VersionSite()
    browser = stale(site, clock)
    site.handler = handler
    assert refused(browser.get("/", **SCRIPT))


def test_a_stream_that_reads_late_sees_no_user(clock: StampClock) -> None:
    """Its status has left."""
    site = VersionSite()
    browser = stale(site, clock)

    def late(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"hello "
        yield get_session(environ).get("name", "nobody").encode()

    site.handler = late
    assert browser.get("/", **SCRIPT).body == b"hello nobody"


def by_key(**settings: Any) -> VersionSite:
    """A site that logs users in by a key of its own."""
    site = VersionSite(
        scopes=(),
        rights=("user:{principal}",),
        principal_key="user",
        required=(),
        manager={"principal_key": "user"},
        **settings,
    )
    site.pages["/in/alice"] = lambda session: session.update(user="alice")
    site.pages["/in/bob"] = lambda session: session.update(user="bob")
    return site


@pytest.mark.parametrize("seconds", [0, 1, 59])
@pytest.mark.parametrize("names", [["alice"], ["bob", "alice"]])
def test_rights_have_no_grace_after_a_log_in_by_the_principal_key(
    clock: StampClock, seconds: int, names: list[str]
) -> None:
    """Also where one user follows another."""
    site = by_key()
    browser = site.browser()
    for name in names:
        assert browser.get(f"/in/{name}", method="POST", **SCRIPT).status == 200
        clock.pass_by(1)
    assert seen(browser.get("/", **SCRIPT)) == {"user": "alice"}
    clock.pass_by(seconds)
    site.stamps.bump("user:alice")
    assert refused(browser.get("/", **SCRIPT))


def test_the_same_holds_where_the_time_of_a_bump_is_unknown(clock: StampClock) -> None:
    """What the version was at the log-in is known all the same."""
    site = by_key()
    site.stamps.history = lambda *_: []  # type: ignore[method-assign]
    browser = site.browser()
    browser.get("/in/alice", method="POST", **SCRIPT)
    assert seen(browser.get("/", **SCRIPT)) == {"user": "alice"}
    site.stamps.bump("user:alice")
    assert refused(browser.get("/", **SCRIPT))


@pytest.mark.parametrize("rights", [("global",), ()])
def test_a_fault_of_the_store_before_a_page_lets_no_stale_session_by(
    clock: StampClock, rights: tuple[str, ...]
) -> None:
    """The page itself may reach the store again."""
    site = VersionSite(rights=rights, grace=0.0, refresh=nobody)
    browser = site.browser("alice")
    site.stamps.bump("global")
    site.fault = StoreUnavailable("no answer", operation="load")

    def recovered(environ: Any, start_response: Any) -> Any:
        site.fault = None
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(dict(get_session(environ))).encode()]

    site.handler = recovered
    response = browser.get("/", **PAGE)
    assert b"Alice" not in response.body
    assert response.status == 401
