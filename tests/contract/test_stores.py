"""The contract of `wsgi_sessions.contract`, as it is shipped, held against every store."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from opened_places import open_place
from store_urls import TAKING_OVER

from wsgi_sessions.stores.token_locks import TokenLocks
from wsgi_sessions.testing import SessionStoreContract, StoreUnderTest

if TYPE_CHECKING:
    from store_urls import Place

    from wsgi_sessions.contract import Backend


class TestEveryStore(SessionStoreContract):
    """What a store of another project would be held to."""

    @pytest.fixture
    def store(self, place: Place) -> StoreUnderTest:
        return StoreUnderTest(
            partial(open_place, place.url, place.prefix),
            clock="given" if place.name in ("memory", "file") else "server",
            processes="one" if place.name == "memory" else "all",
            removes_expired=place.name == TAKING_OVER,
        )


# -- what is ours alone ----------------------------------------------------------------------------


def test_every_store_but_memory_has_a_clock(backend: Backend) -> None:
    assert (backend.clock is None) == (backend.name == "memory")


def test_every_store_has_a_quarantine(backend: Backend) -> None:
    assert backend.quarantine is not None


def test_a_lock_is_free_after_its_time_to_live(backend: Backend, key: str) -> None:
    """By the server's clock: a holder that was killed keeps nobody out for longer."""
    if not isinstance(backend.locks, TokenLocks):
        pytest.skip("the lock ends with the process that holds it")
    holds: Any = backend.locks.holds
    latest = holds.clock(key) + 600
    holds.ttl = 0.05
    assert holds.take(key, "dead", latest).outcome == "taken"
    deadline = time.monotonic() + 20
    while holds.take(key, "next", latest).outcome == "held":
        assert time.monotonic() < deadline
    holds.ttl = 1000.0
    assert holds.take(key, "next", latest).outcome == "taken"
    assert holds.take(key, "dead", latest).outcome == "held"
    assert holds.free(key, "dead") == "lost"
    assert holds.free(key, "next") == "freed"


def test_a_lock_is_not_taken_for_a_caller_that_gave_up(backend: Backend, key: str) -> None:
    """An attempt bears its deadline by the server's clock; who has the lock already has it."""
    if not isinstance(backend.locks, TokenLocks):
        pytest.skip("the lock ends with the process that holds it")
    holds: Any = backend.locks.holds
    now = holds.clock(key)
    late = holds.take(key, "gone", now - 0.1)
    assert late.outcome == "late"
    assert now <= late.now < now + 600
    assert holds.take(key, "here", now + 600).outcome == "taken"
    assert holds.take(key, "here", now - 0.1).outcome == "taken"
    assert holds.take(key, "gone", now - 0.1).outcome != "taken"
    assert holds.free(key, "here") == "freed"
    assert holds.take(key, "gone", now - 0.1).outcome == "late"
    assert holds.take(key, "next", now + 600).outcome == "taken"
    assert holds.free(key, "next") == "freed"
