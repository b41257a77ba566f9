"""One client cannot keep every worker waiting for its session."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import wait_until
from wsgi_client import Browser, Response, call, environ_of

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.core.limits.waiters import BoundedLocks, Waiters
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.errors import LockTimeout, TooManyWaiting
from wsgi_sessions.http.environ import get_transaction
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.leases.policy import LeasePolicy, Leases
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from wsgi_sessions.core.events import Event
    from wsgi_sessions.core.session import Session

KEY, OTHER = store_key(new_id()), store_key(new_id())
LONG = 60.0


def waiting(locks: BoundedLocks, key: str = KEY) -> int:
    return locks.waiters.waiting.get(key, 0)


def wait_for(pool: ThreadPoolExecutor, locks: BoundedLocks, number: int) -> list[Future[bool]]:
    """So many requests that wait for the session, each until it has held it."""

    def hold() -> bool:
        with locks.hold(KEY, LONG):
            return True

    before = waiting(locks)
    futures = [pool.submit(hold) for _ in range(number)]
    wait_until(lambda: waiting(locks) == before + number, "they wait", 30)
    return futures


@pytest.mark.parametrize("store", ["memory", "file"])
def test_a_third_request_that_would_wait_is_refused_at_once(store: str, tmp_path: Path) -> None:
    url = "memory://" if store == "memory" else f"file://{tmp_path}/sessions"
    locks = BoundedLocks(open_backend(url).locks)
    with ThreadPoolExecutor(2) as pool:
        with locks.hold(KEY, 0.0):
            futures = wait_for(pool, locks, 2)
            with pytest.raises(TooManyWaiting, match="2 wait for it"), locks.hold(KEY, LONG):
                pytest.fail("it got in")
            with locks.hold(OTHER, LONG):
                pass  # another session has its own lock, and its own waiters
        assert [future.result(30) for future in futures] == [True, True]
    assert locks.waiters.waiting == {}
    with locks.hold(KEY, 0.0):
        pass


def test_a_holder_in_another_process_leaves_no_more_places() -> None:
    """As seen here: what holds it does not go through this process' places."""
    backend = open_backend("memory://")
    locks = BoundedLocks(backend.locks)
    with ThreadPoolExecutor(2) as pool, ExitStack() as elsewhere:
        elsewhere.enter_context(backend.locks.hold(KEY, 0.0))
        wait_for(pool, locks, 2)
        with pytest.raises(TooManyWaiting), locks.hold(KEY, LONG):
            pytest.fail("it got in")
        elsewhere.close()


def test_a_lock_that_is_free_needs_no_place() -> None:
    locks = BoundedLocks(open_backend("memory://").locks, 0)
    with locks.hold(KEY, LONG), pytest.raises(TooManyWaiting), locks.hold(KEY, LONG):
        pytest.fail("it got in")


def test_a_wait_that_ends_in_a_timeout_gives_its_place_back() -> None:
    locks = BoundedLocks(open_backend("memory://").locks)
    with locks.hold(KEY, 0.0):
        for _ in range(3):
            with pytest.raises(LockTimeout) as caught, locks.hold(KEY, 0.001):
                pytest.fail("it got in")
            assert type(caught.value) is LockTimeout
    assert locks.waiters.waiting == {}


def test_a_forked_child_begins_with_no_waiters() -> None:
    waiters = Waiters(1)
    with waiters.place(KEY), waiters._places.get()._guard:
        child = os.fork()
        if child == 0:
            with waiters.place(KEY) as has_place:
                os._exit(0 if has_place else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_requests_wait_for_as_long_as_the_setting_says() -> None:
    manager = SessionManager(open_backend("memory://"), wait=0.02)
    with manager.hold(KEY), pytest.raises(LockTimeout, match=r"0\.02 s"), manager.hold(KEY):
        pytest.fail("it got in")


# -- in an application -----------------------------------------------------------------------------


class WaitingSite:
    """``/held`` reads its session, says so and waits; it is an exclusive path."""

    def __init__(self, url: str = "memory://", **settings: Any) -> None:
        self.events: list[Event] = []
        self.inside = threading.Semaphore(0)
        self.leave = threading.Event()
        self.body: Callable[[Session], Any] = lambda _: [b"held"]
        config = Config(
            url=url,
            secret_keys=("s" * 40,),
            sweep_interval=None,
            exclusive_paths=("/held",),
            exclusive_wait=LONG,
            **settings,
        )
        self.stack = build(self.app, config, on_event=self.events.append)
        self.browser = Browser(self.stack)
        self.browser.get("/begin")

    def app(self, environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        body: Any = [b"free"]
        if environ["PATH_INFO"] == "/begin":
            session["n"] = 1
        elif environ["PATH_INFO"] == "/held":
            session.increment("n")
            self.inside.release()
            assert self.leave.wait(30)
            body = self.body(session)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    @property
    def locks(self) -> BoundedLocks:
        locks = self.stack.manager.locks
        assert isinstance(locks, BoundedLocks)
        return locks

    def waiting(self) -> int:
        return sum(self.locks.waiters.waiting.values())

    def environ(self, path: str) -> dict[str, Any]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        return environ_of(path, cookie=cookie)


@pytest.mark.parametrize("status", ["503", "429"])
def test_a_client_that_sends_many_requests_occupies_three_threads(
    status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site = WaitingSite(busy_status=status)
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(3) as pool:
        held = [pool.submit(site.browser.get, "/held") for _ in range(3)]
        assert site.inside.acquire(timeout=30)
        wait_until(lambda: site.waiting() == 2, "two wait", 30)
        refused: list[Response] = [site.browser.get("/held") for _ in range(9)]
        assert site.browser.get("/free").body == b"free"
        site.leave.set()
        assert {future.result(30).status for future in held} == {200}
    assert {response.status for response in refused} == {int(status)}
    assert {response.header("Retry-After") for response in refused} == {"1"}
    assert b"wait" in refused[0].body
    names = [event.name for event in site.events]
    assert (names.count("busy"), names.count("unavailable")) == (9, 0)
    (key,) = site.stack.manager.backend.iteration.keys()
    assert key not in caplog.text
    with site.locks.hold(key, 0.0):
        pass


def test_the_lock_of_a_stream_is_free_at_its_commit_though_the_client_does_not_read() -> None:
    site = WaitingSite()
    site.leave.set()

    def stream(session: Session) -> Iterator[bytes]:
        yield b"first"
        session.increment("late")
        yield b"second"

    site.body = stream
    body: Any = site.stack(site.environ("/held"), lambda *_: print)
    assert next(body) == b"first"
    site.body = lambda _: [b"held"]
    assert site.browser.get("/held").status == 200
    assert list(body) == [b"second"]
    body.close()
    (key,) = site.stack.manager.backend.iteration.keys()
    environ = site.environ("/free")
    call(site.stack, environ)
    assert dict(get_session(environ)) == {"n": 3, "late": 1}
    with site.locks.hold(key, 0.0):
        pass


def test_a_session_that_is_first_read_in_the_middle_of_a_stream_is_not_held() -> None:
    """Nobody knows how long the client takes to read the rest."""
    site = WaitingSite()

    def stream() -> Iterator[bytes]:
        yield b"first"
        get_session(environ)["late"] = 1
        yield b"second"

    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream()

    site.stack.sessions.app = app
    environ = site.environ("/held")
    body: Any = site.stack(environ, lambda *_: print)
    assert [next(body), next(body)] == [b"first", b"second"]
    (key,) = site.stack.manager.backend.iteration.keys()
    with site.locks.hold(key, 0.0):
        pass
    body.close()


def test_an_exclusive_path_that_only_looks_from_outside_frees_its_session() -> None:
    """As the middleware of versions does for a page that does not use its session."""
    site = WaitingSite()

    def app(environ: Any, start_response: Any) -> Any:
        get_transaction(environ).peek()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"x", b"y"])

    site.stack.sessions.app = app
    body: Any = site.stack(site.environ("/held"), lambda *_: print)
    (key,) = site.stack.manager.backend.iteration.keys()
    with site.locks.hold(key, 0.0):
        pass
    body.close()


def test_no_more_than_two_requests_wait_for_a_background_refresh() -> None:
    backend = open_backend("memory://")
    backend.sessions.create(KEY, b"x", 2**40)
    leases = Leases(backend, LeasePolicy(wait=LONG))
    assert leases.store.claim(KEY, "refresher", 2**20)

    def load() -> object:
        return leases.begin(backend.sessions.load).load(KEY)

    with ThreadPoolExecutor(2) as pool:
        two = [pool.submit(load) for _ in range(2)]
        wait_until(lambda: leases.waiters.waiting.get(KEY) == 2, "two wait", 30)
        assert load() is not None, "the third goes on at once, without a lease"
        leases.store.release(KEY, "refresher")
        assert all(future.result(30) is not None for future in two)
    leases.close()
