"""Refresh queues: when each session is due, for stores that keep such a queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.testing.contract.under_test import Fixtures, another_key

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, RefreshQueue
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest


class RefreshQueueContract(Fixtures):
    """The contract of `Backend.refreshes` as tests, for a store that keeps a refresh queue.

    It is used as `SessionStoreContract` is, with the same fixture ``store``.
    """

    @pytest.fixture
    def refreshes(self, backend: Backend) -> RefreshQueue:
        """The queue of the store."""
        assert backend.refreshes is not None, "this store keeps no refresh queue"
        return backend.refreshes

    def test_due_sessions_come_in_the_order_of_their_times(self, refreshes: RefreshQueue) -> None:
        keys = [another_key() for _ in range(20)]
        for number, key in enumerate(keys):
            refreshes.schedule(key, 1000.0 + number * 7 % 20)
        expected = sorted(keys, key=lambda key: keys.index(key) * 7 % 20)
        assert refreshes.due(999.0, 50) == []
        assert refreshes.due(1004.0, 50) == expected[:5]
        assert refreshes.due(2000.0, 50) == expected
        assert refreshes.due(2000.0, 3) == expected[:3]
        assert refreshes.due(2000.0, 3) == expected[:3]  # they stay

    def test_a_session_is_due_once_at_the_last_time_it_was_given(
        self, refreshes: RefreshQueue, key: str
    ) -> None:
        refreshes.schedule(key, 1000.5)
        refreshes.schedule(key, 3000.25)
        assert refreshes.due(2000.0, 5) == []
        assert refreshes.due(3000.25, 5) == [key]
        refreshes.schedule(key, 500.0)
        assert refreshes.due(3000.25, 5) == [key]

    def test_a_removed_session_is_never_due(self, refreshes: RefreshQueue, key: str) -> None:
        other = another_key()
        refreshes.schedule(key, 1000.0)
        refreshes.schedule(other, 1000.0)
        for _ in range(2):
            refreshes.remove(key)
        assert refreshes.due(2000.0, 5) == [other]
        refreshes.remove(other)
        assert refreshes.due(2000.0, 5) == []

    def test_schedules_made_at_once_all_count(self, refreshes: RefreshQueue) -> None:
        keys = [f"{number % 3:02}{another_key()[2:]}" for number in range(60)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda key: refreshes.schedule(key, 1000.0), keys))
            assert sorted(refreshes.due(1000.0, 100)) == sorted(keys)
            list(pool.map(refreshes.remove, keys[:50]))
        assert sorted(refreshes.due(1000.0, 100)) == sorted(keys[50:])

    def test_other_backends_see_the_same_queue(
        self, store: StoreUnderTest, refreshes: RefreshQueue, key: str
    ) -> None:
        if store.processes == "one":
            pytest.skip("memory is of one process")
        refreshes.schedule(key, 1000.0)
        with closing(store.open()) as other:
            assert other.refreshes is not None
            assert other.refreshes.due(1000.0, 5) == [key]
            other.refreshes.remove(key)
        assert refreshes.due(1000.0, 5) == []
