"""Traces of ended sessions, for stores that keep them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.endings import EndTrace
from wsgi_sessions.testing.contract.under_test import Fixtures, another_key

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.endings import EndTraces
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest

_KEPT = 3600.0


class EndTracesContract(Fixtures):
    """The contract of `Backend.endings` as tests, for a store that keeps traces of ends.

    It is used as `SessionStoreContract` is, with the same fixture ``store``.
    """

    @pytest.fixture
    def traces(self, backend: Backend) -> EndTraces:
        """The traces of the store."""
        assert backend.endings is not None, "this store keeps no traces of ended sessions"
        return backend.endings

    def test_a_trace_comes_back_as_it_was(self, traces: EndTraces, key: str) -> None:
        full = EndTrace(
            key,
            "replaced",
            1_000_000.125,
            "command revoke by ops",
            "POST /ü\u2028",
            "a detail",
            another_key(),
            "0123456789",
            999_999.5,
            ((999_999.75, "GET /"), (1_000_000.0, "POST /cart")),
        )
        plain = EndTrace(another_key(), "expired-idle", 1_000_000.0)
        assert traces.trace_of(key) is None
        traces.keep([full, plain], _KEPT)
        assert traces.trace_of(key) == full
        assert traces.trace_of(plain.key) == plain
        assert traces.trace_of(another_key()) is None

    def test_the_trace_kept_last_counts(self, traces: EndTraces, key: str) -> None:
        traces.keep([EndTrace(key, "expired-idle", 1000.0)], _KEPT)
        last = EndTrace(key, "revoked", 2000.0, user="0123456789")
        for _ in range(2):
            traces.keep([last], _KEPT)
        assert traces.trace_of(key) == last
        assert traces.matching(key[:8], 5) == [last]
        assert traces.of_user("0123456789", 5) == [last]

    def test_traces_are_found_by_the_beginning_of_their_keys(self, traces: EndTraces) -> None:
        keys = [f"ab{number}{another_key()[3:]}" for number in (1, 1, 2)]
        traces.keep([EndTrace(key, "swept", 1000.0) for key in keys], _KEPT)
        assert {trace.key for trace in traces.matching("ab1", 5)} == set(keys[:2])
        assert len(traces.matching("ab", 2)) == 2
        assert traces.matching("ac", 5) == []
        assert traces.matching("%b", 5) == []

    def test_the_traces_of_a_user_come_newest_first(self, traces: EndTraces) -> None:
        at = [3.0, 1.0, 4.0, 2.0]
        theirs = [EndTrace(another_key(), "logged-out", each, user="a" * 10) for each in at]
        others = [EndTrace(another_key(), "logged-out", 9.0, user=u) for u in (None, "b" * 10)]
        traces.keep([*theirs, *others], _KEPT)
        assert [trace.at for trace in traces.of_user("a" * 10, 9)] == [4.0, 3.0, 2.0, 1.0]
        assert [trace.at for trace in traces.of_user("a" * 10, 2)] == [4.0, 3.0]
        assert traces.of_user("c" * 10, 9) == []

    def test_old_traces_are_trimmed(self, traces: EndTraces) -> None:
        old = [EndTrace(another_key(), "stale", 100.0, user=u) for u in (None, "a" * 10)]
        new = [EndTrace(another_key(), "stale", 200.0, user=u) for u in (None, "a" * 10)]
        traces.keep([*old, *new], _KEPT)
        assert traces.trim(200.0, 100) == 2
        assert [traces.trace_of(trace.key) for trace in (*old, *new)] == [None, None, *new]
        assert traces.trim(200.0, 100) == 0

    def test_only_the_latest_traces_stay(self, traces: EndTraces) -> None:
        users = [EndTrace(another_key(), "stale", float(n), user="a" * 10) for n in range(12)]
        visitors = [EndTrace(another_key(), "stale", float(n)) for n in range(100, 106)]
        traces.keep([*users, *visitors], _KEPT)
        assert traces.trim(0.0, 8) == 4 + 4
        left = [trace for trace in (*users, *visitors) if traces.trace_of(trace.key)]
        assert left == [*users[4:], *visitors[4:]]
        assert len(traces.of_user("a" * 10, 50)) == 8

    def test_a_trace_of_another_kind_takes_the_place_of_the_former(
        self, traces: EndTraces, key: str
    ) -> None:
        """A bound on visitors' traces must not count the one of a user's session."""
        traces.keep([EndTrace(key, "stale", 1.0)], _KEPT)
        traces.keep([EndTrace(key, "stale", 2.0, user="a" * 10)], _KEPT)
        traces.keep([EndTrace(another_key(), "stale", float(n)) for n in range(10, 13)], _KEPT)
        assert traces.trim(0.0, 4) == 2
        found = traces.trace_of(key)
        assert found is not None
        assert found.user == "a" * 10

    def test_traces_kept_at_once_all_stay(self, traces: EndTraces) -> None:
        all_of_them = [EndTrace(f"{n % 3:02}{another_key()[2:]}", "swept", n) for n in range(270)]
        batches = [all_of_them[start : start + 45] for start in range(0, 270, 45)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda batch: traces.keep(batch, _KEPT), batches))
        for batch in batches:
            assert [traces.trace_of(trace.key) for trace in batch[::9]] == batch[::9]
        assert sum(len(traces.matching(f"{n:02}", 500)) for n in range(3)) == 270

    def test_traces_are_not_sessions(self, backend: Backend, traces: EndTraces, key: str) -> None:
        traces.keep([EndTrace(key, "revoked", time.time(), user="alice")], _KEPT)
        assert backend.sessions.load(key) is None
        assert list(backend.iteration.keys()) == []
        assert backend.index.keys_of("alice") == []

    def test_a_trace_outlives_a_later_session_of_its_key(
        self, backend: Backend, traces: EndTraces, key: str
    ) -> None:
        traces.keep([EndTrace(key, "revoked", 1.0)], _KEPT)
        backend.sessions.create(key, b"x", time.time() + 1000)
        backend.sessions.delete(key)
        assert traces.trace_of(key) is not None

    def test_other_processes_see_the_trace(
        self, store: StoreUnderTest, traces: EndTraces, key: str
    ) -> None:
        if store.processes == "one":
            pytest.skip("memory is of one process")
        traces.keep([EndTrace(key, "revoked", 1.0)], _KEPT)
        with closing(store.open()) as other:
            assert other.endings is not None
            assert other.endings.trace_of(key) == EndTrace(key, "revoked", 1.0)
            assert other.endings.trim(2.0, 100) == 1
        assert traces.trace_of(key) is None
