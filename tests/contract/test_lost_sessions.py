"""On every store, the one who presents the cookie of an ended session learns why it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from store_urls import LONG_BESIDE_SESSIONS, STORES, TAKING_OVER, Place, of_the_table
from worlds import Visit

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.endings.traces import Traces
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.endings import Cause
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.operations.maintenance import delete_expired
from wsgi_sessions.stores.sweeper import Sweeper
from wsgi_sessions.testing.contract.under_test import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions import Backend
    from wsgi_sessions.endings import EndReason
    from wsgi_sessions.operations.maintenance import Deletion

HOUR = 3600.0


@pytest.fixture(scope="module", params=of_the_table(long=LONG_BESIDE_SESSIONS))
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store: its name in the table, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


class EndingApplication:
    """Sessions of users on a store that keeps why they ended; `now` may be ahead of the store."""

    def __init__(self, backend: Backend) -> None:
        assert backend.endings is not None
        self.ahead = 0.0
        self.backend = backend
        self.traces = Traces(backend.endings, HOUR)
        self.manager = SessionManager(
            backend,
            lifetimes=Lifetimes(2 * HOUR, 2 * HOUR),
            traces=self.traces,
            clock=lambda: time.time() + self.ahead,
        )

    def begin(self, session_id: str | None) -> Transaction:
        return Transaction(self.manager, Visit(session_id, "POST /do"))

    def login(self) -> str:
        transaction = self.begin(None)
        transaction.session.login("alice")
        transaction.commit()
        assert transaction.session_id is not None
        return transaction.session_id

    def change(self, session_id: str, what: Callable[[Transaction], object]) -> None:
        transaction = self.begin(session_id)
        what(transaction)
        transaction.commit()

    def damage(self, session_id: str) -> None:
        key = store_key(session_id)
        record = self.backend.sessions.load(key)
        assert record is not None
        until = time.time() + HOUR
        self.backend.sessions.save(key, b"\x01damage", until, expected_version=record.version)
        self.change(session_id, lambda transaction: transaction.session.get("a"))

    def outlive(self, session_id: str) -> None:
        self.backend.sessions.touch(store_key(session_id), time.time() + 3 * HOUR)
        self.ahead = 2 * HOUR + 1
        self.change(session_id, lambda transaction: transaction.session.get("a"))
        self.ahead = 0.0

    def expire_and_purge(self, session_id: str) -> None:
        key = store_key(session_id)
        record = self.backend.sessions.load(key)
        assert record is not None
        soon = time.time() + 0.05
        version = record.version
        self.backend.sessions.save(key, record.payload, soon, expected_version=version)
        wait_until(lambda: self.backend.sessions.load(key) is None, "the expiry")
        self.purge()

    def purge_unused(self, _: str) -> None:
        self.ahead = 1.9 * HOUR
        assert self.purge(older_than=HOUR).unused >= 1
        self.ahead = 0.0

    def purge(self, older_than: float | None = None) -> Deletion:
        return delete_expired(
            self.backend,
            older_than=older_than,
            lifetimes=Lifetimes(2 * HOUR, 9 * HOUR),
            clock=self.manager.now,
            report=self.manager.endings,
            by="a test",
        )

    def lost(self, session_id: str | None) -> str | None:
        return self.begin(session_id).session.lost


Path = Callable[["EndingApplication", str], object]
# Every way in which a record goes, and the reason that is given for it.
ENDS: dict[str, tuple[EndReason, Path]] = {
    "flush": ("logged-out", lambda app, id_: app.change(id_, lambda t: t.session.flush())),
    "cycle_id": ("replaced", lambda app, id_: app.change(id_, lambda t: t.session.cycle_id())),
    "log-in of the same": (
        "replaced",
        lambda app, id_: app.change(id_, lambda t: t.session.login("alice")),
    ),
    "log-in of another": (
        "superseded",
        lambda app, id_: app.change(id_, lambda t: t.session.login("bob")),
    ),
    "rebuild failed": (
        "stale",
        lambda app, id_: app.change(id_, lambda t: t.draft().flush(Cause("stale"))),
    ),
    "destroy": ("revoked", lambda app, id_: app.manager.destroy(store_key(id_))),
    "end of one device": (
        "revoked",
        lambda app, id_: app.manager.destroy_sessions_of("alice", only=store_key(id_)),
    ),
    "damaged content": ("damaged", EndingApplication.damage),
    "absolute lifetime": ("expired-absolute", EndingApplication.outlive),
    "purge of expired": ("expired-idle", EndingApplication.expire_and_purge),
    "purge of unused": ("swept", EndingApplication.purge_unused),
}


def test_each_end_is_explained_also_by_another_process(backend: Backend, place: Place) -> None:
    app = EndingApplication(backend)
    ended = {}
    for path, (why, end) in ENDS.items():
        ended[path] = app.login()
        end(app, ended[path])
        assert app.lost(ended[path]) == why, path
    app.traces.settle()
    if place.name == "memory":
        return
    with closing(place.open()) as another:
        there = EndingApplication(another)
        assert {path: there.lost(session_id) for path, session_id in ended.items()} == {
            path: why for path, (why, _) in ENDS.items()
        }
    app.traces.close()


def test_a_live_session_and_a_visitor_without_one_are_not_lost(backend: Backend) -> None:
    app = EndingApplication(backend)
    assert app.lost(app.login()) is None
    assert app.lost(None) is None


def test_an_expired_session_is_explained_before_and_after_the_sweep(
    backend: Backend, place: Place
) -> None:
    app = EndingApplication(backend)
    session_id = app.login()
    key = store_key(session_id)
    record = backend.sessions.load(key)
    assert record is not None
    soon = time.time() + 0.05
    backend.sessions.save(key, record.payload, soon, expected_version=record.version)
    wait_until(lambda: backend.sessions.load(key) is None, "the expiry")
    assert app.lost(session_id) == "expired-idle"
    sweeper = Sweeper(backend, interval=HOUR)
    sweeper.report_to(app.manager.endings.expired, app.traces.trim)
    sweeper.sweep()
    app.traces.settle()
    assert app.lost(session_id) == "expired-idle"
    trace = app.traces.of(key)
    if backend.expired is not None and place.name != TAKING_OVER:
        assert trace is not None
        assert (trace.why, trace.by) == ("expired-idle", "sweeper")
    app.traces.close()


def test_nothing_is_claimed_to_be_known_of_an_id_that_no_store_knows(backend: Backend) -> None:
    """Where the server itself deletes what expires, that is all it can have been."""
    inferred = "expired-idle" if backend.expires_silently else "unknown"
    assert EndingApplication(backend).lost(new_id()) == inferred
