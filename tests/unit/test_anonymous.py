"""Sessions that are nobody's: smaller, shorter, and none is made where there is no room."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from wsgi_client import Browser

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.limits.anonymous import AnonymousRules
from wsgi_sessions.core.limits.census import Census
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.principals import StoredSession
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import SessionTooLarge, StoreUnavailable, TooManySessions
from wsgi_sessions.http.environ import get_session
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stack.build import build
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.events import Event
    from wsgi_sessions.stack.build import Stack

HOUR = 3600.0
RULES = AnonymousRules(idle=600.0, max_size=2000, login_keys=("user", "username"))
SECRET = "s" * 40


class AnonymousRequest:
    """A request with a session's id."""

    def __init__(self, session_id: str | None = None) -> None:
        self._id = session_id

    def session_id(self) -> str | None:
        return self._id

    def route(self) -> str:
        return "POST /"

    def access(self) -> Any:
        return "shared"


class AnonymousWorld:
    """A manager with a clock, on memory."""

    def __init__(self, backend: Backend | None = None, **settings: Any) -> None:
        self.now = 1_800_000_000.0
        self.events: list[Event] = []
        self.backend = backend or open_memory(clock=lambda: self.now)
        more: dict[str, Any] = {} if backend else {"clock": lambda: self.now}
        self.manager = SessionManager(
            self.backend,
            lifetimes=Lifetimes(24 * HOUR, 30 * 24 * HOUR, RULES),
            identity=IdentityRules("user", login_keys=("username",)),
            **more,
            **settings,
        )

    def do(self, change: Callable[[Any], object], session_id: str | None = None) -> str | None:
        """One request; the id that its session has after it."""
        transaction = Transaction(self.manager, AnonymousRequest(session_id))
        try:
            change(transaction.session)
            transaction.commit()
        finally:
            transaction.close()
        return None if transaction.snapshot is None else transaction.snapshot.session_id

    def is_alive(self, session_id: str | None) -> bool:
        assert session_id is not None
        return self.manager.loader.open(session_id) is not None


def store(session: Any) -> None:
    session["x"] = 1


def longer(session: Any) -> None:
    session["x"] = 1
    session.remember(10 * HOUR)


def login(session: Any) -> None:
    session.login("alice")
    session["x"] = 1


def name(session: Any) -> None:
    session["username"] = "alice"


def assign(session: Any) -> None:
    session["user"] = 7


# -- size and lifetime -------------------------------------------------------------------------


@pytest.mark.parametrize("somebody", [login, name, assign])
def test_an_anonymous_session_is_smaller(somebody: Callable[[Any], object]) -> None:
    world = AnonymousWorld()
    large = {"big": "x" * 2000}
    with pytest.raises(SessionTooLarge, match="`anonymous_max_size`"):
        world.do(lambda session: session.update(large))
    visitor = world.do(store)
    with pytest.raises(SessionTooLarge) as caught:
        world.do(lambda session: session.update(large), visitor)
    assert caught.value.limit == 2000
    assert world.is_alive(visitor), "as it was"
    user = world.do(somebody, visitor)
    world.do(lambda session: session.update(large), user)
    small = AnonymousWorld(max_size=1000)
    with pytest.raises(SessionTooLarge, match="`max_size`"):
        small.do(lambda session: session.update(large))


@pytest.mark.parametrize("somebody", [login, name, assign])
def test_an_anonymous_session_lives_shorter(somebody: Callable[[Any], object]) -> None:
    world = AnonymousWorld()
    visitor, other = world.do(store), world.do(store)
    world.now += 599
    world.do(dict, visitor)  # a page that only reads prolongs it
    user = world.do(somebody, world.do(store))
    world.now += 599
    assert world.is_alive(visitor)
    assert not world.is_alive(other)
    world.now += 2
    assert not world.is_alive(visitor)
    world.now += 20 * HOUR
    assert world.is_alive(user)


def test_an_anonymous_session_may_ask_for_less_but_not_for_longer() -> None:
    world = AnonymousWorld()
    asked = world.do(longer)
    less = world.do(store)
    world.do(lambda session: session.remember(60), less)
    user = world.do(longer, world.do(login))
    world.now += 61
    assert not world.is_alive(less)
    world.now += 600
    assert not world.is_alive(asked)
    world.now += 9 * HOUR
    assert world.is_alive(user)


def test_a_session_with_data_after_a_log_out_is_anonymous_again() -> None:
    world = AnonymousWorld()
    user = world.do(assign)
    visitor = world.do(lambda session: session.pop("user"), user)
    world.now += 601
    assert not world.is_alive(visitor)


def test_its_own_lifetime_tells_when_it_was_last_used() -> None:
    world = AnonymousWorld()
    visitor = world.do(store)
    world.now += 100
    world.do(lambda session: session.update(x=2), visitor)
    ((key, record, envelope),) = live_sessions(world.backend)
    found = StoredSession.of(
        key, record.expires_at, envelope, Lifetimes(24 * HOUR, 30 * 24 * HOUR, RULES)
    )
    assert found.last_used_at == world.now


# -- no room -----------------------------------------------------------------------------------


def test_at_the_limit_no_anonymous_session_is_made(backend: Backend) -> None:
    world = AnonymousWorld(backend, max_sessions=3)
    visitors = [world.do(store) for _ in range(3)]
    for _ in range(3):
        with pytest.raises(TooManySessions):
            world.do(store)
    assert world.backend.iteration.count() == 3
    for visitor in visitors:
        world.do(lambda session: session.increment("x"), visitor)
    assert all(map(world.is_alive, visitors)), "none is evicted"
    # Users log in, with a session of before and without; a new id is no new session.
    users = [world.do(login), world.do(login, visitors[0]), world.do(name), world.do(assign)]
    assert all(map(world.is_alive, users))
    turned = world.do(lambda session: session.cycle_id(), visitors[1])
    assert world.is_alive(turned)
    with pytest.raises(TooManySessions):
        world.do(store)


@pytest.mark.parametrize("value", [None, "", False, {}, ()])
@pytest.mark.parametrize("key", ["user", "username"])
def test_an_empty_name_names_no_user(key: str, value: object) -> None:
    """Applications keep an empty name for visitors."""
    world = AnonymousWorld(max_sessions=1)
    visitor = world.do(lambda session: session.update({key: value}))
    with pytest.raises(TooManySessions):
        world.do(lambda session: session.update({key: value}))
    with pytest.raises(SessionTooLarge):
        world.do(lambda session: session.update(big="x" * 2000), visitor)
    world.now += 601
    assert not world.is_alive(visitor)


def test_a_session_that_ends_makes_room() -> None:
    world = AnonymousWorld(max_sessions=2)
    first, _ = world.do(store), world.do(store)
    with pytest.raises(TooManySessions):
        world.do(store)
    world.do(lambda session: session.flush(), first)
    assert world.is_alive(world.do(store))


def test_another_process_fills_the_store() -> None:
    backend = open_memory()
    ours, theirs = AnonymousWorld(backend, max_sessions=3), AnonymousWorld(backend)
    now = [0.0]
    assert ours.manager._census is not None
    ours.manager._census._clock = lambda: now[0]
    ours.do(store)
    for _ in range(5):
        theirs.do(store)
    now[0] = 1.1
    with pytest.raises(TooManySessions):
        ours.do(store)


class Counted:
    """A store that is slow to count, or cannot be counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.found: int | Exception = 0
        self.counting = threading.Event()
        self.released = threading.Event()
        self.released.set()

    def keys(self) -> Iterator[str]:
        return iter(())

    def count(self) -> int:
        self.calls += 1
        self.counting.set()
        self.released.wait(30)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize("fault", [StoreUnavailable("down"), RuntimeError("a driver's")])
def test_a_store_that_cannot_be_counted_has_room(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store, now = Counted(), [0.0]
    store.found = fault
    census = Census(store, 1, clock=lambda: now[0])
    census.require_room()
    assert "could not be counted" in caplog.text
    store.found = 1
    census.require_room()
    now[0] = 1.0
    with pytest.raises(TooManySessions):
        census.require_room()


def test_a_count_takes_a_small_share_of_the_time_and_is_made_once() -> None:
    store, now = Counted(), [0.0]
    census = Census(store, 10, clock=lambda: now[0])
    for moment, calls in ((0.0, 1), (0.9, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
        now[0] = moment
        assert not census.is_full()
        assert store.calls == calls, moment
    store.released.clear()
    now[0] = 10.0
    store.counting.clear()
    waiting = threading.Thread(target=census.is_full)
    waiting.start()
    assert store.counting.wait(30)
    assert not census.is_full(), "others do not wait"
    now[0] = 20.0
    assert store.calls == 4
    store.found = 10
    store.released.set()
    waiting.join()
    assert census.is_full()
    now[0] = 20.0 + 20 * 10.0 - 1
    assert census.is_full()
    assert store.calls == 4
    now[0] += 1
    census.is_full()
    assert store.calls == 5


def test_a_forked_worker_counts_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Counted()
    store.found = 5
    census = Census(store, 5, clock=lambda: 0.0)
    assert census.is_full()
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child
    store.found = 0
    assert not census.is_full()


# -- as an application meets it ----------------------------------------------------------------


def app(environ: Any, start_response: Any) -> list[bytes]:
    session, path = get_session(environ), environ["PATH_INFO"]
    if path == "/store":
        session.increment("n")
    elif path == "/login":
        session.login("alice")
    elif path == "/large":
        session["big"] = "x" * 300_000
    body = str(session.get("n")).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def stack(**settings: str) -> Stack:
    environ = {"URL": "memory://", "SECRET_KEYS": SECRET, "SWEEP_INTERVAL": "off", **settings}
    return build(
        app, Config.from_environ({f"WSGI_SESSIONS_{key}": value for key, value in environ.items()})
    )


def test_a_write_is_refused_with_503_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    wrapped = stack(MAX_SESSIONS="1")
    known, visitor, user = Browser(wrapped), Browser(wrapped), Browser(wrapped)
    assert known.get("/store").status == 200
    with caplog.at_level(logging.WARNING, "wsgi_sessions"):
        response = visitor.get("/store")
    assert response.status == 503
    assert response.header("Retry-After")
    assert response.header("Set-Cookie") is None
    (line,) = [r.getMessage() for r in caplog.records if "session full" in r.getMessage()]
    assert "WSGI_SESSIONS_MAX_SESSIONS" in line
    assert "POST /store" in line or "GET /store" in line
    assert visitor.get("/").status == 200, "who stores nothing is served"
    assert known.get("/store").body == b"2"
    assert user.get("/login").status == 200
    wrapped.close()


def test_the_settings_count() -> None:
    wrapped = stack(ANONYMOUS_IDLE_LIFETIME="10m", PRINCIPAL_KEY="who", LOGIN_KEYS="name")
    lifetimes = wrapped.manager.lifetimes
    assert lifetimes.anonymous == AnonymousRules(600.0, 256 * 1024, ("who", "name"))
    browser = Browser(wrapped)
    with pytest.raises(SessionTooLarge):
        browser.get("/large")
    browser.get("/login")
    assert browser.get("/large").status == 200
    wrapped.close()
