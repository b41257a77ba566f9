"""The refresher: what is due, claims, hooks that raise and hang, lifetimes."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis_servers import wait_until
from store_urls import STORES, place_of

from wsgi_sessions import ConfigurationError, HeadersAlreadySent, Refresher, SessionManager
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.refresh.hook_runner import HookRunner
from wsgi_sessions.refresh.refresher import BATCH
from wsgi_sessions.refresh.rule import Failures, Refreshing
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.source import Access
    from wsgi_sessions.refresh.visit import RefreshOutcome

START = 3_000_000_000.0  # in the future: a database compares with its own clock
INTERVAL = 60.0
LONG = 1000.0
SQL = [pytest.param(name, marks=pytest.mark.soak) for name in ("sqlite", "postgresql")]


class RefreshVisit:
    """A request, as a transaction sees one."""

    def __init__(self, session_id: str | None = None) -> None:
        self._session_id = session_id

    def session_id(self) -> str | None:
        return self._session_id

    def route(self) -> str:
        return "visit"

    def access(self) -> Access:
        return "shared"


class RefreshWorld:
    """A backend, a manager and a refresher on it, a clock, and what was reported."""

    def __init__(self, *, url: str = "memory://", idle: float = 1000.0) -> None:
        self.now = START
        self.events: list[Event] = []
        self.backend = open_backend(url, timeout=5.0, clock=lambda: self.now)
        self.manager = SessionManager(
            self.backend,
            events=Events(self.events.append),
            lifetimes=Lifetimes(idle=idle, absolute=5 * idle),
            clock=lambda: self.now,
        )
        self.refreshed: list[str] = []
        self.hook: Callable[[Session], object] = lambda session: None
        assert self.backend.leases is not None
        assert self.backend.refreshes is not None
        self.leases = self.backend.leases
        self.queue = self.backend.refreshes
        self.refresher = self.make()

    def make(self, **times: float) -> Refresher:
        times = {"interval": INTERVAL, "ttl": LONG, **times}
        return Refresher(self.manager, self._refresh, clock=lambda: self.now, **times)

    def begin(self, session_id: str | None = None) -> Transaction:
        return Transaction(self.manager, RefreshVisit(session_id))

    def new(self, **data: Any) -> RefreshVisitor:
        """A session that is kept alive."""
        transaction = self.begin()
        transaction.session.update(data)
        transaction.session.keep_alive()
        transaction.commit()
        assert transaction.snapshot is not None
        return RefreshVisitor(self, transaction.snapshot.session_id, transaction.snapshot.key)

    def expire(self, visitor: RefreshVisitor) -> None:
        """Let the session's time be up, also by the clock of a database."""
        record = self.backend.sessions.load(visitor.key)
        assert record is not None
        self.now = record.expires_at + 1
        if self.backend.name != "memory":
            self.backend.sessions.save(
                visitor.key, record.payload, time.time() - 1, expected_version=record.version
            )

    def look(self) -> dict[RefreshOutcome, int]:
        """What came of one look at what is due."""
        return dict(self.refresher.refresh_due())

    def due(self) -> list[str]:
        return self.queue.due(self.now, 1000)

    def names(self) -> list[str]:
        return [e.name for e in self.events if e.name.startswith("refresh")]

    def _refresh(self, session: Session) -> object:
        self.refreshed.append(session.get("name", ""))
        return self.hook(session)


class RefreshVisitor:
    """A session, and how it is now."""

    def __init__(self, world: RefreshWorld, session_id: str, key: str) -> None:
        self.world, self.session_id, self.key = world, session_id, key

    @property
    def session(self) -> Session:
        return self.world.begin(self.session_id).session

    @property
    def expires_at(self) -> float:
        record = self.world.backend.sessions.load(self.key)
        assert record is not None
        return record.expires_at

    def change(self, change: Callable[[Session], object]) -> str:
        transaction = self.world.begin(self.session_id)
        change(transaction.session)
        return transaction.commit()


@pytest.fixture(scope="module", params=["memory", *SQL])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    with STORES[request.param](tmp_path_factory.mktemp("store")) as url:
        yield request.param, url


@pytest.fixture
def world(store: tuple[str, str], tmp_path: Path) -> Iterator[RefreshWorld]:
    world = RefreshWorld(url=place_of(*store, tmp_path, "").url)
    with closing(world.backend), closing(world.refresher):
        yield world


@pytest.fixture
def world_with_a_clock() -> Iterator[RefreshWorld]:
    """One whose store goes by the clock of the test, too."""
    world = RefreshWorld()
    with closing(world.refresher):
        yield world


# -- when ----------------------------------------------------------------------------------------


def test_a_session_is_refreshed_soon_and_then_once_per_interval(world: RefreshWorld) -> None:
    visitor = world.new(name="a", n=0)
    world.hook = lambda session: session.increment("n")
    assert world.look() == {"refreshed": 1}
    assert visitor.session["n"] == 1
    assert visitor.session.refreshed_at == START
    for step in (0.0, INTERVAL * 0.99):
        world.now = START + step
        assert world.look() == {}
    world.now = START + INTERVAL * 1.11
    assert world.look() == {"refreshed": 1}
    assert world.look() == {}
    assert visitor.session["n"] == 2
    assert visitor.session.refreshed_at == world.now


class NeverAsked:
    """A `RefreshQueue` that must be left alone."""

    def schedule(self, *_: object) -> None:
        pytest.fail("a session was put into the queue")

    def remove(self, *_: object) -> None:
        pytest.fail("a session was taken out of the queue")


def test_a_change_that_concerns_no_refresh_asks_nothing_of_the_queue(world: RefreshWorld) -> None:
    kept = world.new(n=1)
    queue: Any = NeverAsked()
    world.manager.backend = replace(world.backend, refreshes=queue)
    first = world.begin()
    first.session["n"] = 1
    first.commit()
    assert first.snapshot is not None
    for session_id in (first.snapshot.session_id, kept.session_id):
        transaction = world.begin(session_id)
        transaction.session["n"] = 2
        assert transaction.commit() == "saved"


def test_refreshes_are_spread_by_a_tenth_of_the_interval(world: RefreshWorld) -> None:
    for number in range(30):
        world.new(name=f"{number}")
    world.look()
    world.now += INTERVAL * 1.05
    at_half = len(world.due())
    assert 0 < at_half < 30
    world.now += INTERVAL * 0.06
    assert len(world.due()) == 30


def test_only_sessions_that_are_kept_alive_are_refreshed(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    transaction = world.begin()
    transaction.session["name"] = "b"
    transaction.commit()
    assert visitor.session.is_kept_alive
    wrong: Any = "off"  # would be true
    with pytest.raises(TypeError, match="True or False, not str"):
        visitor.session.keep_alive(wrong)
    visitor.change(lambda session: session.keep_alive(False))
    assert world.due() == []
    again = visitor.session
    assert not again.is_kept_alive
    visitor.change(lambda session: session.keep_alive())
    assert world.due() == [visitor.key]
    assert world.look() == {"refreshed": 1}
    assert world.refreshed == ["a"]


def test_a_session_is_found_under_its_new_key(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    transaction = world.begin(visitor.session_id)
    transaction.session.login("ada")
    transaction.commit()
    assert transaction.snapshot is not None
    assert world.due() == [transaction.snapshot.key]
    assert world.look() == {"refreshed": 1}


@pytest.mark.parametrize("end", ["destroyed", "expired"])
def test_a_dead_session_is_dropped_from_the_queue(world: RefreshWorld, end: str) -> None:
    visitor = world.new(name="a")
    if end == "destroyed":
        world.manager.destroy(visitor.key)
    else:
        world.expire(visitor)
    assert world.look() == {"over": 1}
    assert world.due() == []
    assert world.refreshed == []


def test_one_that_another_refresher_has_done_is_left_for_its_time(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    world.look()
    world.queue.schedule(visitor.key, 0)  # as one that had read the queue before
    assert world.look() == {"early": 1}
    assert world.due() == []
    world.now += INTERVAL * 1.11
    assert world.look() == {"refreshed": 1}


HOUR = 3600.0


@pytest.mark.parametrize(
    ("state", "now", "holders", "expected"),
    [
        (Refreshing(is_kept_alive=False), 1e6, 0, False),
        (Refreshing(is_kept_alive=True), 0.0, 0, True),
        (Refreshing(is_kept_alive=True), 0.0, 1, False),
        (Refreshing(True, 1000.0), 1000.0 + INTERVAL - 0.1, 0, False),
        (Refreshing(True, 1000.0), 1000.0 + INTERVAL, 0, True),
        (Refreshing(True, 1000.0), 1000.0 + INTERVAL, 2, False),
        # A whole day and one second: `timedelta.seconds` would say one second.
        (Refreshing(True, 1000.0), 1000.0 + 24 * HOUR + 1, 0, True),
        (Refreshing(True, 1000.0), 1000.0 + 48 * HOUR, 0, True),
        (Refreshing(True, None, Failures(1, 1000.0)), 1000.0 + 2 * INTERVAL - 1, 0, False),
        (Refreshing(True, None, Failures(1, 1000.0)), 1000.0 + 2 * INTERVAL, 0, True),
        (Refreshing(True, 900.0, Failures(3, 1000.0)), 1000.0 + 8 * INTERVAL, 0, True),
        (Refreshing(True, 900.0, Failures(999999, 1000.0)), 1000.0 + 16 * INTERVAL, 0, True),
    ],
)
def test_needs_refresh(state: Refreshing, now: float, holders: int, *, expected: bool) -> None:
    assert state.needs_refresh(now, INTERVAL, holders) is expected


# -- while in use --------------------------------------------------------------------------------


def test_one_in_use_is_skipped_and_taken_once_it_is_free(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    world.leases.acquire(visitor.key, "request", LONG)
    assert world.look() == {"in use": 1}
    assert world.look() == {"in use": 1}
    assert world.refreshed == []
    assert world.names() == ["refresh-skipped"], "once per interval"
    world.now += INTERVAL
    assert world.look() == {"in use": 1}
    assert world.names() == ["refresh-skipped"] * 2
    world.leases.release(visitor.key, "request")
    assert world.look() == {"refreshed": 1}


def test_those_in_use_do_not_keep_others_from_their_turn(world: RefreshWorld) -> None:
    visitors = [world.new(name=f"busy {number}") for number in range(BATCH)]
    for visitor in visitors:
        world.leases.acquire(visitor.key, "request", LONG)
    world.now += 1
    world.new(name="free")
    world.now += 1  # those in use come behind it, not beside it, where the keys would decide
    assert world.look() == {"in use": BATCH}
    world.now += 1
    world.look()
    assert world.refreshed == ["free"]


def test_one_that_another_refresher_is_at_is_left_alone(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    world.leases.claim(visitor.key, "another", LONG)
    assert world.look() == {"claimed": 1}
    assert world.names() == []
    assert world.refreshed == []


def test_requests_are_kept_out_while_the_hook_runs_and_not_after(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    seen = []
    world.hook = lambda session: seen.append(world.leases.acquire(visitor.key, "r", LONG))
    world.look()
    assert seen == [False]
    assert world.leases.acquire(visitor.key, "r", LONG)


def test_two_refreshers_never_meet_in_one_session(world: RefreshWorld) -> None:
    world.new(name="a")
    outcomes: list[dict[RefreshOutcome, int]] = []
    other = world.make()
    world.hook = lambda session: outcomes.append(dict(other.refresh_due()))
    assert world.look() == {"refreshed": 1}
    assert outcomes == [{"claimed": 1}]
    assert world.refreshed == ["a"]


# -- no activity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("does", ["nothing", "change", "exclusive", "fail"])
def test_refreshing_moves_neither_lifetime(world: RefreshWorld, does: str) -> None:
    visitor = world.new(name="a", n=0)
    expires_at, created_at = visitor.expires_at, visitor.session.created_at

    def hook(session: Session) -> None:
        if does == "change":
            session["n"] += 1
        elif does == "exclusive":
            with session.exclusive():
                session["n"] += 1
        elif does == "fail":
            raise ZeroDivisionError

    world.hook = hook
    for _ in range(5):
        world.now += 180
        world.look()
    assert len(world.refreshed) >= 3
    assert visitor.expires_at == expires_at == START + 1000
    assert visitor.session.created_at == created_at == START
    world.expire(visitor)
    assert world.begin(visitor.session_id).session.new


def test_a_concurrent_request_keeps_its_activity(world: RefreshWorld) -> None:
    visitor = world.new(name="a", n=0)
    world.now += 500

    def hook(session: Session) -> None:
        session["feed"] = "new"
        world.now += 10
        assert visitor.change(lambda other: other.get("n")) == "touched"
        assert visitor.change(lambda other: other.increment("n")) == "saved"

    world.hook = hook
    world.look()
    assert visitor.expires_at == START + 510 + 1000
    assert dict(visitor.session) == {"name": "a", "n": 1, "feed": "new"}


def test_a_concurrent_request_that_only_reads_keeps_its_touch(world: RefreshWorld) -> None:
    """The touch leaves the version as it is: only reading again before the commit shows it."""
    visitor = world.new(name="a")
    world.now += 500
    world.hook = lambda session: visitor.change(lambda other: other.get("n"))
    assert world.look() == {"refreshed": 1}
    assert visitor.expires_at == START + 500 + 1000


def test_the_listing_tells_when_a_session_was_used_and_refreshed(world: RefreshWorld) -> None:
    transaction = world.begin()
    transaction.session.login("ada")
    transaction.session.keep_alive()
    transaction.commit()
    (listed,) = world.manager.sessions_of("ada")
    assert (listed.created_at, listed.last_used_at, listed.refreshed_at) == (START, START, None)
    world.now += 100
    world.look()
    (listed,) = world.manager.sessions_of("ada")
    assert (listed.last_used_at, listed.refreshed_at) == (START, START + 100)
    world.now += 100
    assert transaction.snapshot is not None
    second = world.begin(transaction.snapshot.session_id)
    second.session["n"] = 1
    second.commit()
    (listed,) = world.manager.sessions_of("ada")
    assert (listed.last_used_at, listed.refreshed_at) == (START + 200, START + 100)


# -- hooks ---------------------------------------------------------------------------------------


def test_a_hook_that_raises_changes_nothing_and_waits_longer_and_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = RefreshWorld(idle=100_000.0)
    visitor = world.new(name="a", n=0)

    def hook(session: Session) -> None:
        session["n"] = "secret"
        raise ZeroDivisionError

    world.hook = hook
    waits = []
    for _ in range(6):
        assert world.look() == {"failed": 1}
        (failed,) = [e for e in world.events[-1:] if e.name == "refresh-failed"]
        assert failed.facts["reason"] == "ZeroDivisionError"
        waits.append(float(str(failed.facts["retry_in"])) / INTERVAL)
        world.now += 0.9 * waits[-1] * INTERVAL
        assert world.look() == {}
        world.now += (0.21 * waits[-1]) * INTERVAL
    assert waits == [2, 4, 8, 16, 16, 16]
    assert visitor.session["n"] == 0
    assert visitor.session.refreshed_at is None
    assert "secret" not in caplog.text
    world.hook = lambda session: None
    assert world.look() == {"refreshed": 1}
    world.now += INTERVAL * 1.11
    assert world.look() == {"refreshed": 1}  # back to the interval


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_hook_that_wants_to_exit_does_not_end_the_refresher(
    world: RefreshWorld, error: type[BaseException]
) -> None:
    def hook(_: Session) -> None:
        raise error

    world.new(name="a")
    world.hook = hook
    assert world.look() == {"failed": 1}


def test_changes_that_cannot_be_stored_are_a_failure(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    world.hook = lambda session: session.update(thing=object())
    assert world.look() == {"failed": 1}
    assert "thing" not in visitor.session


@pytest.mark.parametrize(
    ("action", "arguments"), [("login", ["ada"]), ("cycle_id", []), ("remember", [90])]
)
def test_a_hook_cannot_do_what_needs_a_cookie(
    world: RefreshWorld, action: str, arguments: list[Any]
) -> None:
    errors: list[BaseException] = []

    def hook(session: Session) -> None:
        try:
            getattr(session, action)(*arguments)
        except HeadersAlreadySent as error:
            errors.append(error)

    visitor = world.new(name="a")
    world.hook = hook
    assert world.look() == {"refreshed": 1}
    assert len(errors) == 1
    assert not visitor.session.new


def test_a_hook_may_log_the_session_out(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    world.hook = lambda session: session.flush()
    assert world.look() == {"over": 1}
    assert visitor.session.new
    assert world.due() == []


def test_a_hook_may_end_the_keeping_alive(world: RefreshWorld) -> None:
    world.new(name="a")
    world.hook = lambda session: session.keep_alive(False)
    assert world.look() == {"refreshed": 1}
    world.now += 10 * INTERVAL
    assert world.look() == {}


def test_a_session_that_is_logged_out_at_the_same_time_stays_dead(world: RefreshWorld) -> None:
    visitor = world.new(name="a")

    def hook(session: Session) -> None:
        session["late"] = True
        world.manager.destroy(visitor.key)

    world.hook = hook
    assert world.look() == {"over": 1}
    assert world.backend.sessions.load(visitor.key) is None
    assert world.due() == []


class Hanging:
    """A hook that waits, then changes the session as much as it can."""

    def __init__(self) -> None:
        self.began, self.go_on, self.ended = (threading.Event() for _ in range(3))
        self.errors: list[BaseException] = []

    def __call__(self, session: Session) -> None:
        session["early"] = True
        with self._told(), session.exclusive():
            session["n"] = -1
            self.began.set()
            self.go_on.wait(20)
        for act in (lambda: session.update(n=-2), session.flush, lambda: session.increment("n")):
            with self._told():
                act()
        self.ended.set()

    def _told(self) -> Any:
        return _Told(self.errors)


class _Told:
    def __init__(self, errors: list[BaseException]) -> None:
        self._errors = errors

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if error is not None:
            self._errors.append(error)
        return isinstance(error, HeadersAlreadySent)


def test_a_hook_that_hangs_is_left_behind_and_comes_to_nothing(world: RefreshWorld) -> None:
    visitor = world.new(name="a", n=0)
    world.hook = hanging = Hanging()
    world.refresher = world.make(deadline=0.1)
    assert world.look() == {"failed": 1}
    assert world.events[-1].facts["reason"] == "it took over 0.1 s"
    assert world.leases.acquire(visitor.key, "request", LONG)  # the claim is gone
    hanging.go_on.set()
    assert hanging.ended.wait(10)
    assert [type(error) for error in hanging.errors] == [HeadersAlreadySent] * 4
    assert dict(visitor.session) == {"name": "a", "n": 0}
    assert world.look() == {}
    assert world.due() == []  # it backs off


def test_a_hook_that_lost_its_claim_comes_to_nothing(world_with_a_clock: RefreshWorld) -> None:
    world = world_with_a_clock
    visitor = world.new(name="a", n=0)

    def hook(session: Session) -> None:
        session["n"] = -1
        world.now += 31  # as if the process had been stopped for longer than the ttl
        assert world.leases.acquire(visitor.key, "request", LONG)

    world.hook = hook
    world.refresher = world.make(ttl=30.0)
    assert world.look() == {"lost": 1}
    assert visitor.session["n"] == 0
    assert world.due() == [visitor.key]
    assert world.leases.holders(visitor.key) == 1


def test_a_claim_is_renewed_while_the_hook_runs(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    renewed = threading.Event()
    leases: Any = world.leases
    renew = leases.renew

    def spied(*args: Any) -> bool:
        renewed.set()
        return bool(renew(*args))

    leases.renew = spied
    world.hook = lambda session: renewed.wait(20)
    world.refresher = world.make(ttl=0.06)
    assert world.look() == {"refreshed": 1}
    assert visitor.session.refreshed_at == START


def test_hooks_that_hang_are_bounded_in_number(
    world: RefreshWorld, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = Hanging()
    hanging.began.set()
    world.hook = lambda session: hanging.go_on.wait(20)
    world.refresher = world.make(deadline=0.01)
    for number in range(12):
        world.new(name=f"{number}")
    assert world.look() == {"failed": 8}
    assert "8 refresh hooks hang" in caplog.text
    assert world.look() == {}
    hanging.go_on.set()
    wait_until(lambda: world.look().get("refreshed", 0) > 0, "the others to have their turn")


# -- running -------------------------------------------------------------------------------------


def refresher_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "wsgi_sessions refresher"]


def test_a_thread_refreshes_what_is_due_until_it_is_closed(world: RefreshWorld) -> None:
    world.refresher = world.make(interval=0.05)
    world.refresher.ensure_running()
    world.refresher.ensure_running()
    assert len(refresher_threads()) == 1
    visitor = world.new(name="a")
    wait_until(lambda: visitor.session.refreshed_at is not None, "the session to be refreshed")
    world.refresher.close()
    assert refresher_threads() == []
    world.refresher.ensure_running()
    assert len(refresher_threads()) == 1
    world.refresher.close()


def test_closing_leaves_a_running_hook_behind_and_frees_the_session(world: RefreshWorld) -> None:
    visitor = world.new(name="a", n=0)
    world.hook = hanging = Hanging()
    world.refresher = world.make(interval=0.05)
    world.refresher.ensure_running()
    assert hanging.began.wait(10)
    world.refresher.close()
    assert refresher_threads() == []
    assert world.leases.claim(visitor.key, "another", LONG)
    assert world.due() == [visitor.key]  # for whoever comes next
    hanging.go_on.set()
    assert hanging.ended.wait(10)
    assert dict(visitor.session) == {"name": "a", "n": 0}


def test_a_store_that_fails_is_asked_again(
    world: RefreshWorld, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = world.new(name="a")
    due, faults = world.queue.due, iter([StoreUnavailable("down"), ZeroDivisionError("bug")])

    def failing(now: float, limit: int) -> list[str]:
        for fault in faults:
            raise fault
        return due(now, limit)

    world.queue.due = failing  # type: ignore[method-assign]
    world.refresher = world.make(interval=0.05)
    with caplog.at_level(logging.WARNING), closing(world.refresher):
        world.refresher.ensure_running()
        wait_until(lambda: visitor.session.refreshed_at is not None, "it to be refreshed")
    assert caplog.text.count("sessions could not be refreshed") == 2


def test_a_store_that_fails_in_the_middle_leaves_the_session_due(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    sessions: Any = world.backend.sessions
    save = sessions.save

    def failing(*_: Any, **__: Any) -> int:
        raise StoreUnavailable("down")

    sessions.save = failing
    with pytest.raises(StoreUnavailable):
        world.look()
    assert world.leases.holders(visitor.key) == 0
    sessions.save = save
    assert world.look() == {"refreshed": 1}


@pytest.mark.parametrize("is_done", [False, True])
def test_a_hook_whose_changes_met_a_store_that_was_down_is_not_called_again_at_once(
    world: RefreshWorld, *, is_done: bool
) -> None:
    """Two refreshers, of which the second had found the session due before the first began."""
    visitor = world.new(name="a", n=0)
    sessions: Any = world.backend.sessions
    save = sessions.save

    def failing(*args: Any, **options: Any) -> int:
        if is_done:
            save(*args, **options)
        raise StoreUnavailable("down")

    def hook(session: Session) -> None:
        session.increment("n")
        sessions.save = failing

    world.hook = hook
    with pytest.raises(StoreUnavailable):
        world.look()
    sessions.save = save
    assert len(world.refreshed) == 1
    assert [event.facts for event in world.events if event.name == "refresh-failed"] == [
        {"reason": "StoreUnavailable", "retry_in": INTERVAL}
    ]
    world.queue.schedule(visitor.key, world.now)
    world.now += INTERVAL - 1
    assert world.look() == {"early": 1}
    assert visitor.session["n"] == is_done
    world.hook = lambda session: session.increment("n")
    world.now += 2 + INTERVAL / 10
    assert world.look() == {"refreshed": 1}
    assert visitor.session["n"] == 1 + is_done
    assert len(world.refreshed) == 2


def test_a_session_that_ends_just_before_the_hook_is_left(world: RefreshWorld) -> None:
    visitor = world.new(name="a")
    find = world.manager.loader.find

    def ended(key: str) -> Any:
        found = find(key)
        world.backend.sessions.delete(key)
        return found

    world.manager.loader.find = ended  # type: ignore[method-assign]
    assert world.look() == {"over": 1}
    assert world.refreshed == []
    assert world.due() == []
    assert visitor.key


def test_a_session_that_cannot_be_scheduled_is_committed_all_the_same(
    world: RefreshWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: Any) -> None:
        raise StoreUnavailable("down")

    queue: Any = world.queue
    queue.schedule = failing
    visitor = world.new(name="a")
    assert visitor.session["name"] == "a"
    assert "is not scheduled" in caplog.text


@pytest.mark.parametrize("times", [{"interval": 0}, {"deadline": -1}, {"ttl": 0}])
def test_times_that_make_no_sense_are_refused(world: RefreshWorld, times: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        world.make(**times)


# -- calling the hook ------------------------------------------------------------------------------


def test_no_call_begins_after_the_stop() -> None:
    """Which may come between the claim and the call, when there is nothing to wake yet."""
    called: list[Session] = []
    runner = HookRunner(called.append, deadline=LONG)
    runner.stop()
    ending = runner.call(RefreshWorld().begin().session, beat=lambda: True, period=LONG)
    assert ending.kind == "stopped"
    assert called == []
