"""One clock for all lifetimes, which tests may move; and hosts whose clocks differ."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from freezegun import freeze_time
from overlapping import Sessions
from store_urls import STORES, place_of

from wsgi_sessions.commit import Lifetimes
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.stores.base import Backend

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


@pytest.fixture(params=[name for name in ("postgresql", "mariadb") if name in STORES])
def server_of_sql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """The SQL databases that have a clock of their own."""
    yield from opened(request.param, tmp_path)


@pytest.mark.parametrize("library", ["freezegun", "time-machine"])
def test_what_moves_the_time_moves_expiry(local: Backend, library: str) -> None:
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
def test_a_host_whose_clock_is_off_ends_no_session_that_is_in_use(
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
