"""Who has lost the lock of an exclusive block stores nothing any more, and that is reported."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from overlapping import Sessions
from store_urls import STORES, of_the_table, place_of
from worlds import id_of

from wsgi_sessions.core.draft import chain_of
from wsgi_sessions.errors import LockLost, SessionGone, VersionConflict
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.mutex import Fence

LATER = 2e9


def opened(store: str, folder: Path) -> Iterator[Backend]:
    with (
        STORES[store](folder) as url,
        closing(place_of(store, url, folder, "lost:").open()) as backend,
    ):
        yield backend


@pytest.fixture(params=of_the_table("memory"))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=["redis", "file", pytest.param("postgresql", marks=pytest.mark.soak)])
def some(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """One store with tokens and one with the kernel's locks: above them, all is the same."""
    yield from opened(request.param, tmp_path)


def lose(backend: Backend, key: str, fence: Fence | None) -> None:
    """As when it expires, or when somebody removes its file."""
    assert fence is not None
    locks: Any = backend.locks
    if isinstance(locks, TokenLocks):
        assert locks.holds.free(key, fence.number) == "freed"
    else:
        os.unlink(os.path.join(locks.folder, key))


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_a_save_is_refused_whose_lock_is_lost(backend: Backend, whose: str) -> None:
    key = store_key(new_id())
    lock = key if whose == "its own" else store_key(new_id())
    store = backend.sessions
    store.create(key, b"1", LATER)
    with backend.locks.hold(lock, 1.0) as held:
        fence = held.fence
        assert store.save(key, b"2", LATER, expected_version=1, fence=fence) == 2
        with pytest.raises(VersionConflict):
            store.save(key, b"twice", LATER, expected_version=1, fence=fence)
        lose(backend, lock, held.fence)
        with pytest.raises(LockLost, match="try again") as caught:
            store.save(key, b"late", LATER, expected_version=2, fence=fence)
        with backend.locks.hold(lock, 1.0) as theirs:
            assert store.save(key, b"3", LATER, expected_version=2, fence=theirs.fence) == 3
            with pytest.raises(LockLost):
                store.save(key, b"late", LATER, expected_version=3, fence=fence)
            store.delete(key)
            with pytest.raises((SessionGone, LockLost)):
                store.save(key, b"late", LATER, expected_version=3, fence=fence)
    assert held.was_lost
    assert not theirs.was_lost
    assert key not in str(caught.value)
    assert str(caught.value.key) == key[:10]


def test_a_save_without_a_fence_needs_no_lock(backend: Backend) -> None:
    key = store_key(new_id())
    backend.sessions.create(key, b"1", LATER)
    with backend.locks.hold(key, 1.0):
        assert backend.sessions.save(key, b"2", LATER, expected_version=1) == 2


def lost_meanwhile(sessions: Sessions, loser: Transaction) -> None:
    """The loser's time is up, and another block runs from its beginning to its end."""
    assert loser.snapshot is not None
    assert loser.turn is not None
    lose(sessions.backend, chain_of(loser.snapshot), loser.turn.fence)
    other = sessions.begin(id_of(loser), "POST /other")
    with other.session.exclusive():
        other.session["seats"] = other.session["seats"] - 1
    other.commit()


CHANGES: dict[str, Callable[[Session], object]] = {
    "a change": lambda session: session.update(seats=session["seats"] - 1),
    "another key": lambda session: session.update(other=1),
    "a new id": lambda session: session.cycle_id(),
    "a log-in": lambda session: session.login("alice"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", ["block", "request"])
def test_the_changes_of_a_lost_block_are_refused_as_a_whole(
    some: Backend, way: str, change: str
) -> None:
    sessions = Sessions(some)
    session_id = sessions.new(seats=2)
    loser = sessions.begin(session_id, "POST /loser")

    def run() -> None:
        if way == "block":
            with loser.session.exclusive():
                lost_meanwhile(sessions, loser)
                CHANGES[change](loser.session)
        else:
            loser.hold()
            lost_meanwhile(sessions, loser)
            CHANGES[change](loser.session)
        loser.commit()

    with pytest.raises(LockLost):
        run()
    loser.close()
    assert sessions.seen(session_id) == (None, {"seats": 1})
    assert sessions.live() == 1
    (event,) = [event for event in sessions.events if event.name == "lock-lost"]
    assert event.key == store_key(session_id)[:10]
    assert sessions.do(session_id, CHANGES["a change"]) == "saved"


def test_a_block_that_changed_nothing_is_reported_too(some: Backend) -> None:
    sessions = Sessions(some)
    loser = sessions.begin(sessions.new(seats=2))
    with loser.session.exclusive():
        lost_meanwhile(sessions, loser)
    loser.close()
    assert [event.name for event in sessions.events].count("lock-lost") == 1


def test_a_log_out_is_not_refused(some: Backend) -> None:
    sessions = Sessions(some)
    session_id = sessions.new(seats=2)
    loser = sessions.begin(session_id)
    with loser.session.exclusive():
        lost_meanwhile(sessions, loser)
        loser.session.flush()
    assert loser.commit() == "destroyed"
    assert sessions.live() == 0


def test_a_commit_after_a_block_needs_no_lock(some: Backend) -> None:
    sessions = Sessions(some)
    session_id = sessions.new(seats=2)
    transaction = sessions.begin(session_id)
    with transaction.session.exclusive():
        transaction.session["seats"] = 1
    transaction.session["later"] = 1
    assert transaction.commit() == "saved"
    assert sessions.seen(session_id) == (None, {"seats": 1, "later": 1})
    assert not [event for event in sessions.events if event.name == "lock-lost"]
