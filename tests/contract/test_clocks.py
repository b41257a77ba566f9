"""One clock for all lifetimes, which tests may move; and hosts whose clocks differ."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from freezegun import freeze_time
from overlapping import Sessions
from redis_servers import RedisServer, available
from requirements_of_tests import require
from store_urls import STORES, place_of
from worlds import Visit

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.commit.throttle import Throttle
from wsgi_sessions.core.jobs import in_background
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.redis.backend import open_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend

HOUR = 3600.0


def opened(store: str, folder: Path) -> Iterator[Backend]:
    with (
        STORES[store](folder) as url,
        closing(place_of(store, url, folder, "clocks:").open()) as backend,
    ):
        yield backend


@pytest.fixture(params=["memory", "file", "sqlite"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The stores without a server, and so, without a clock of its own."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=["postgresql", pytest.param("mariadb", marks=pytest.mark.soak)])
def server_of_sql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The SQL databases that have a clock of their own."""
    yield from opened(request.param, tmp_path)


@pytest.mark.parametrize("library", ["freezegun", "time-machine"])
def test_a_library_that_moves_the_time_moves_expiry(local: Backend, library: str) -> None:
    freeze: Any = freeze_time if library == "freezegun" else time_machine.travel
    with freeze("2031-05-01 12:00") as clock:
        move = clock.tick if library == "freezegun" else clock.shift
        sessions = Sessions(local, lifetimes=Lifetimes(HOUR, 10 * HOUR))
        session_id = sessions.new(user="alice")
        move(0.9 * HOUR)
        assert sessions.do(session_id, dict) == "touched"
        move(0.9 * HOUR)
        assert sessions.do(session_id, dict) == "touched"
        move(1.1 * HOUR)
        assert sessions.begin(session_id).session.get("user") is None


@pytest.mark.parametrize("moment", ["2001-01-01", "2061-01-01"])
def test_sessions_work_at_any_frozen_time(backend: Backend, moment: str) -> None:
    with freeze_time(moment) as clock:
        sessions = Sessions(backend, lifetimes=Lifetimes(HOUR, 10 * HOUR))
        session_id = sessions.new(user="alice")
        clock.tick(0.5 * HOUR)
        assert sessions.do(session_id, lambda session: session.update(n=1)) == "saved"
        begun = sessions.begin(session_id)
        assert dict(begun.session) == {"user": "alice", "n": 1}
        assert begun.session.expires_at == pytest.approx(time.time() + HOUR, abs=0.5 * HOUR + 5)
        assert begun.session.created_at == time.time() - 0.5 * HOUR


def test_a_wait_ends_while_the_time_stands_still(local: Backend) -> None:
    with freeze_time("2031-05-01"):
        sessions = Sessions(local)
        key = store_key(sessions.new(a=1))
        with (
            local.locks.hold(key, 1.0),
            pytest.raises(LockTimeout),
            local.locks.hold(key, 0.05),
        ):
            pytest.fail("two hold it")


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_host_with_a_wrong_clock_ends_no_session_in_use(
    server_of_sql: Backend, monkeypatch: pytest.MonkeyPatch, minutes: float
) -> None:
    """Requests come to two hosts in turn, and the lifetime is shorter than what their clocks differ
    by: only a server's clock can tell."""
    real = time.time
    lifetimes = Lifetimes(300.0, 10 * HOUR)
    right = Sessions(server_of_sql, lifetimes=lifetimes)
    wrong = Sessions(server_of_sql, lifetimes=lifetimes)
    session_id = right.new(user="alice")
    for _ in range(3):
        monkeypatch.setattr(time, "time", lambda: real() + 60 * minutes)
        assert wrong.seen(session_id)[1]["user"] == "alice"
        assert wrong.do(session_id, lambda session: session.update(a=1)) == "saved"
        monkeypatch.undo()
        assert right.seen(session_id)[1]["user"] == "alice"
        left = right.begin(session_id).session.expires_at
        assert left is not None
        assert left - real() == pytest.approx(300.0, abs=30)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as redis:
        yield redis


class Hosts:
    """Two hosts on one Redis, of which one has a clock that is off by so many seconds."""

    def __init__(self, redis: RedisServer, patch: pytest.MonkeyPatch, off: float) -> None:
        self._redis = redis
        self._patch = patch
        self._off = off
        self._passed = 0.0
        self._backends = [open_redis(redis.url), open_redis(redis.url)]
        lifetimes = Lifetimes(300.0, 10 * HOUR)
        self.right, self.wrong = (Sessions(one, lifetimes=lifetimes) for one in self._backends)
        self.session_id = self.right.new(user="alice", n=0)
        self._name = f"session:{{{store_key(self.session_id)}}}"

    @contextmanager
    def at(self, host: str) -> Iterator[Sessions]:
        """Requests come to this host."""
        real, off = time.time, self._passed + (self._off if host == "wrong" else 0)
        self._patch.setattr(time, "time", lambda: real() + off)
        yield self.wrong if host == "wrong" else self.right
        self._patch.undo()

    def request(self, host: str, kind: str) -> None:
        with self.at(host) as sessions:
            transaction = sessions.begin(self.session_id)
            assert transaction.session["user"] == "alice"
            if kind == "write":
                transaction.session.increment("n")
            transaction.commit()

    def left(self) -> float:
        """Seconds that the session has, as the server counts them."""
        milliseconds: int = self._redis.command("PTTL", self._name)
        return milliseconds / 1000

    def wait(self, seconds: float) -> None:
        """Time passes, for the hosts and on the server."""
        left = round((self.left() - seconds) * 1000)
        assert self._redis.command("PEXPIRE", self._name, left) == 1
        self._passed += seconds

    def close(self) -> None:
        for backend in self._backends:
            backend.close()


@pytest.fixture
def hosts(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Hosts]:
    with closing(Hosts(redis, monkeypatch, request.param)) as hosts:
        yield hosts


OFF = pytest.mark.parametrize("hosts", [-600.0, -10.0, 10.0, 200.0, 310.0, 600.0], indirect=True)


@OFF
@pytest.mark.parametrize("first", ["read", "write"])
@pytest.mark.parametrize("then", ["read", "write"])
def test_a_host_with_a_wrong_clock_ends_no_session_on_redis(
    hosts: Hosts, first: str, then: str
) -> None:
    for number in range(40):
        hosts.request("right" if number % 8 else "wrong", then if number % 8 else first)
        assert hosts.left() > 255
        hosts.wait(10)
    for number in range(8):
        hosts.request("right" if number % 2 else "wrong", then if number % 2 else first)
        assert hosts.left() > 255
        hosts.wait(100)


@OFF
@pytest.mark.parametrize("host", ["wrong", "right"])
def test_a_background_commit_leaves_the_expiry_as_it_is(hosts: Hosts, host: str) -> None:
    other = "wrong" if host == "right" else "right"
    hosts.request(host, "write")
    hosts.wait(100)
    with hosts.at(other) as sessions:
        snapshot = sessions.begin(hosts.session_id).snapshot
        assert snapshot is not None
        visit = Visit(hosts.session_id, "refresh", "shared")
        transaction = in_background(sessions.manager, visit, snapshot)
        transaction.session.increment("n")
        assert transaction.commit() == "saved"
    assert hosts.left() == pytest.approx(200, abs=5)


def test_a_moved_time_ends_sessions_on_redis_too_but_later(redis: RedisServer) -> None:
    lifetimes = Lifetimes(HOUR, 10 * HOUR)
    with freeze_time("2031-05-01 12:00") as clock, closing(open_redis(redis.url)) as backend:
        sessions = Sessions(backend, lifetimes=lifetimes)
        session_id = sessions.new(user="alice")
        clock.tick(1.2 * HOUR)
        assert sessions.seen(session_id)[1] == {"user": "alice"}
        clock.tick(0.1 * HOUR)
        assert sessions.seen(session_id)[1] == {}
        name = f"session:{{{store_key(session_id)}}}"
        assert redis.command("PTTL", name) > 3_500_000


def test_more_time_by_the_settings_of_former_days_costs_a_touch_now_and_then() -> None:
    with closing(open_memory()) as backend:
        session_id = Sessions(backend, lifetimes=Lifetimes(2 * HOUR, 10 * HOUR)).new(user="alice")
        later = Sessions(backend, lifetimes=Lifetimes(HOUR, 10 * HOUR))
        results = [later.do(session_id, dict) for _ in range(10)]
    assert results == ["touched", *["unchanged"] * 9]


def test_a_key_comes_again_after_its_time_and_the_last_ones_are_known() -> None:
    throttle = Throttle(2)
    assert [throttle.is_due("a", now, 10) for now in (100, 109, 110, 119)] == [1, 0, 1, 0]
    assert [throttle.is_due("a", now, 10) for now in (50, 59)] == [1, 0], "the clock was set back"
    assert [throttle.is_due(key, 59, 10) for key in "bccbaa"] == [1, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(("moved", "lifetime"), [(-3600.0, "not begun"), (5400.0, "idle")])
def test_a_record_of_another_time_is_not_accepted_and_stays(moved: float, lifetime: str) -> None:
    """Made in the future, or long expired, and its store has it still."""
    now = [1_000_000.0]
    sessions = Sessions(
        open_memory(clock=lambda: 1_000_000.0),
        lifetimes=Lifetimes(HOUR, 10 * HOUR),
        clock=lambda: now[0],
    )
    session_id = sessions.new(user="alice")
    now[0] += moved
    assert sessions.begin(session_id).session.get("user") is None
    assert [event.facts["lifetime"] for event in sessions.events if event.name == "expired"] == [
        lifetime
    ]
    now[0] -= moved
    assert sessions.begin(session_id).session.get("user") == "alice"
