"""Sessions of jobs and frameworks: begun by id, committed at once, without a response."""

from __future__ import annotations

import math
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions import Config, HeadersAlreadySent, Lifetimes, open_sessions
from wsgi_sessions.core.jobs import begin
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import BareIds, is_id, new_id
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.stack.sessions import Sessions

NOW = 1_000_000.0
HOUR = 3600.0


class WorldOfJobs:
    """Sessions in memory, on a clock that stands."""

    def __init__(self, lifetimes: Lifetimes | None = None) -> None:
        self.now = NOW
        self.backend = open_memory(clock=lambda: self.now)
        self.manager = SessionManager(self.backend, lifetimes=lifetimes, clock=lambda: self.now)

    def begin(self, session_id: str | None = None) -> Transaction:
        return begin(self.manager, session_id)

    def stored(self, **data: object) -> str:
        transaction = self.begin()
        transaction.session.update(data)
        transaction.commit()
        assert transaction.session_id is not None
        return transaction.session_id

    def count(self) -> int:
        assert self.backend.iteration is not None
        return len(list(self.backend.iteration.keys()))


@pytest.fixture
def world() -> WorldOfJobs:
    return WorldOfJobs()


# -- begin -----------------------------------------------------------------------------------------


def test_a_commit_tells_the_id_of_a_new_session(world: WorldOfJobs) -> None:
    transaction = world.begin()
    assert transaction.session_id is None
    transaction.session["cart"] = ["tea"]
    assert transaction.commit() == "created"
    again = world.begin(transaction.session_id)
    assert again.session["cart"] == ["tea"]


def test_a_new_id_is_final_when_the_commit_returns(world: WorldOfJobs) -> None:
    old = world.stored(cart=1)
    transaction = world.begin(old)
    transaction.session.cycle_id()
    transaction.commit()
    assert transaction.session_id not in (None, old)
    assert world.begin(old).session.get("cart") is None
    assert world.begin(transaction.session_id).session["cart"] == 1


@pytest.mark.parametrize("presented", ["", "x", "a" * 39, "ä" * 40, f"{'a' * 40}\n", "N" * 40])
def test_an_id_that_was_not_issued_is_never_adopted(world: WorldOfJobs, presented: str) -> None:
    transaction = world.begin(presented)
    transaction.session["a"] = 1
    transaction.commit()
    assert transaction.session_id != presented


def test_ids_are_recognized_by_their_form() -> None:
    assert is_id(new_id())
    assert not is_id(new_id()[1:])
    assert BareIds().examine("x") is None
    session_id = new_id()
    found = BareIds().examine(BareIds().sign(session_id))
    assert found is not None
    assert found.session_id == session_id


# -- what begins a session -------------------------------------------------------------------------


def test_an_empty_session_is_stored_on_purpose(world: WorldOfJobs) -> None:
    transaction = world.begin()
    assert transaction.create() == "created"
    assert transaction.session_id is not None
    assert world.begin(transaction.session_id).session.key is not None


def test_marks_alone_begin_no_session(world: WorldOfJobs) -> None:
    transaction = world.begin()
    transaction.session.remember(timedelta(hours=1))
    transaction.session.keep_alive()
    assert transaction.commit() == "unchanged"
    assert world.count() == 0


def test_marks_count_once_there_is_data(world: WorldOfJobs) -> None:
    transaction = world.begin()
    transaction.session.remember(HOUR)
    transaction.commit()
    transaction.session["a"] = 1
    assert transaction.commit() == "created"
    assert world.begin(transaction.session_id).session.lifetime == HOUR


def test_a_log_in_begins_a_session_without_data(world: WorldOfJobs) -> None:
    transaction = world.begin()
    transaction.session.login("alice")
    assert transaction.commit() == "created"


# -- bind ------------------------------------------------------------------------------------------


def test_a_principal_is_bound_under_the_same_id_and_found(world: WorldOfJobs) -> None:
    session_id = world.stored(a=1)
    transaction = world.begin(session_id)
    transaction.bind("alice")
    transaction.commit()
    assert transaction.session_id == session_id
    (listed,) = world.manager.sessions_of("alice")
    assert listed.key == transaction.session.key


def test_another_principal_takes_the_place_of_the_former_one(world: WorldOfJobs) -> None:
    transaction = world.begin(world.stored(a=1))
    transaction.bind("alice")
    transaction.commit()
    transaction = world.begin(transaction.session_id)
    transaction.bind("bob")
    transaction.commit()
    assert world.backend.index.keys_of("alice") == []
    transaction = world.begin(transaction.session_id)
    transaction.bind(None)
    transaction.commit()
    assert world.manager.sessions_of("bob") == []
    assert world.begin(transaction.session_id).session.principal is None


# -- discard ---------------------------------------------------------------------------------------


def test_changes_are_discarded_for_another_attempt(world: WorldOfJobs) -> None:
    session_id = world.stored(n=1)
    transaction = world.begin(session_id)
    transaction.session["n"] = 2
    transaction.session.remember(HOUR)
    transaction.discard()
    assert transaction.session["n"] == 1
    assert transaction.commit() == "unchanged"


def test_a_log_out_is_discarded_too(world: WorldOfJobs) -> None:
    session_id = world.stored(n=1)
    transaction = world.begin(session_id)
    transaction.session.flush()
    transaction.session["anonymous"] = True
    transaction.discard()
    transaction.session["m"] = 2
    assert transaction.commit() == "saved"
    assert dict(world.begin(session_id).session) == {"n": 1, "m": 2}


# -- lifetimes -------------------------------------------------------------------------------------


def test_a_session_ends_at_a_fixed_moment_however_it_is_used(world: WorldOfJobs) -> None:
    end = datetime.fromtimestamp(NOW + 3 * HOUR, timezone.utc)
    transaction = world.begin()
    transaction.session["a"] = 1
    transaction.session.remember(end)
    transaction.commit()
    session_id = transaction.session_id
    for hours in (1, 2, 2.9):
        world.now = NOW + hours * HOUR
        used = world.begin(session_id)
        used.session["at"] = hours
        used.commit()
        assert used.session.expires_at == NOW + 3 * HOUR
        assert used.session.lifetime == end
    world.now = NOW + 3 * HOUR + 1
    assert not world.begin(session_id).session


def test_reading_does_not_move_a_fixed_end(world: WorldOfJobs) -> None:
    transaction = world.begin()
    transaction.session["a"] = 1
    transaction.session.remember(datetime.fromtimestamp(NOW + 30 * HOUR, timezone.utc))
    transaction.commit()
    world.now += 20 * HOUR
    again = world.begin(transaction.session_id)
    assert again.session["a"] == 1
    assert again.commit() == "unchanged"


def test_a_moment_without_a_time_zone_is_refused(world: WorldOfJobs) -> None:
    with pytest.raises(ValueError, match="time zone"):
        world.begin().session.remember(datetime(2026, 1, 1))  # the fault


def test_without_an_absolute_lifetime_use_keeps_a_session_for_ever() -> None:
    world = WorldOfJobs(Lifetimes(idle=HOUR, absolute=math.inf))
    transaction = world.begin()
    transaction.session["n"] = 0
    transaction.bind("alice")
    transaction.commit()
    for n in range(100):
        world.now += 0.9 * HOUR
        used = world.begin(transaction.session_id)
        assert used.session["n"] == n
        used.session["n"] = n + 1
        used.commit()
    assert len(world.manager.sessions_of("alice")) == 1


def test_an_entry_of_the_index_outlives_an_endless_session_by_little() -> None:
    world = WorldOfJobs(Lifetimes(idle=HOUR, absolute=math.inf))
    transaction = world.begin()
    transaction.bind("alice")
    transaction.commit()
    world.now += 3 * HOUR
    assert world.backend.index.keys_of("alice") == []


# -- opened by a configuration ---------------------------------------------------------------------


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    environ = {
        "WSGI_SESSIONS_URL": f"file://{tmp_path}/sessions",
        "WSGI_SESSIONS_ABSOLUTE_LIFETIME": "off",
    }
    with closing(open_sessions(Config.from_environ(environ))) as opened:
        yield opened


@pytest.fixture
def alice(sessions: Sessions) -> str:
    """The store key of a session of Alice's."""
    transaction = sessions.begin()
    transaction.bind("alice")
    transaction.session["mails"] = 1
    transaction.commit()
    assert transaction.session.key is not None
    return transaction.session.key


def mails(sessions: Sessions, key: str) -> Any:
    with sessions.job(key) as session:
        return session["mails"]


def test_a_job_commits_at_its_end(sessions: Sessions, alice: str) -> None:
    for found in sessions.manager.sessions_of("alice"):
        with sessions.job(found.key) as session:
            session.increment("mails")
    assert mails(sessions, alice) == 2


def test_a_job_is_merged_with_what_others_store_meanwhile(sessions: Sessions, alice: str) -> None:
    with sessions.job(alice) as session:
        session["mine"] = session.increment("mails")
        with sessions.job(alice) as other:
            other["theirs"] = other.increment("mails")
    assert mails(sessions, alice) == 3
    with sessions.job(alice) as session:
        assert session.keys() == {"mails", "mine", "theirs"}


def test_a_job_is_no_activity_and_brings_no_cookie(sessions: Sessions, alice: str) -> None:
    before = sessions.manager.loader.find(alice)
    with sessions.job(alice) as session:
        session["mails"] = 5
        with pytest.raises(HeadersAlreadySent):
            session.cycle_id()
    after = sessions.manager.loader.find(alice)
    assert before is not None
    assert after is not None
    assert after.expires_at == before.expires_at
    assert mails(sessions, alice) == 5


class _Failed(Exception):
    """What a job raises."""


def fail_after(session: Session, change: Callable[[Session], object]) -> None:
    change(session)
    raise _Failed


def test_a_job_that_raises_stores_nothing_but_a_log_out(sessions: Sessions, alice: str) -> None:
    with pytest.raises(_Failed), sessions.job(alice) as session:
        fail_after(session, lambda it: it.update(mails=2))
    assert mails(sessions, alice) == 1
    with pytest.raises(_Failed), sessions.job(alice) as session:
        fail_after(session, lambda it: it.flush())
    with pytest.raises(LookupError, match=alice[:10]):
        sessions.job(alice)


def test_background_threads_are_started_on_demand(sessions: Sessions) -> None:
    sessions.ensure_running()
    assert sessions.sweeper is not None
    assert sessions.leases is None


def test_a_wrong_configuration_is_reported(tmp_path: Path) -> None:
    config = Config.from_environ({"WSGI_SESSIONS_URL": f"sqlite:///{tmp_path}/s.db"})
    with pytest.raises(ConfigurationError, match="SECRET"):
        open_sessions(config)
