"""Iteration, the index of principals, locks, and the quarantine where there is one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.errors import LockTimeout, SessionGone
from wsgi_sessions.testing.contract.under_test import Fixtures, another_key, later

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.upkeep import Quarantine


class AbilityLaws(Fixtures):
    """The laws of the other protocols of a `Backend`."""

    # -- iteration ---------------------------------------------------------------------------------

    def test_iteration_and_count_see_live_sessions_only(self, backend: Backend) -> None:
        keys = {another_key() for _ in range(25)}
        for key in keys:
            backend.sessions.create(key, b"x", later())
        backend.index.add("alice", next(iter(keys)), later())
        backend.sessions.delete(keys.pop())
        assert set(backend.iteration.keys()) == keys
        assert backend.iteration.count() == 24

    def test_records_are_found_by_the_beginning_of_their_keys(self, backend: Backend) -> None:
        if backend.search is None:
            pytest.skip("the store cannot search for keys")
        keys = sorted(f"a{n % 2}b{another_key()[3:]}" for n in range(20))
        for key in [*keys, "b" + another_key()[1:]]:
            backend.sessions.create(key, b"x", later())
        assert sorted(backend.search.keys_from("a1", 100)) == keys[10:]
        assert sorted(backend.search.keys_from("a1b", 100)) == keys[10:]
        assert backend.search.keys_from(keys[0], 100) == keys[:1]
        assert len(set(backend.search.keys_from("a0", 3)) & set(keys[:10])) == 3
        assert backend.search.keys_from("a1c", 100) == []

    def test_the_clock_of_a_store_tells_the_time(self, backend: Backend) -> None:
        if backend.clock is not None:
            assert backend.clock.now() == pytest.approx(time.time(), abs=20)

    # -- the index ---------------------------------------------------------------------------------

    def test_the_index_finds_the_sessions_of_a_principal(self, backend: Backend) -> None:
        first, second, third = (another_key() for _ in range(3))
        for principal, key in (("alice", first), ("alice", second), ("bob", third)):
            backend.index.add(principal, key, later())
        assert sorted(backend.index.keys_of("alice")) == sorted([first, second])
        assert backend.index.keys_of("bob") == [third]
        assert backend.index.keys_of("nobody") == []

    def test_an_index_entry_is_added_and_removed_once(self, backend: Backend, key: str) -> None:
        other = another_key()
        for added in (key, other, key):
            backend.index.add("alice", added, later())
        assert sorted(backend.index.keys_of("alice")) == sorted([key, other])
        for principal in ("alice", "alice", "nobody"):
            backend.index.remove(principal, key)
        assert backend.index.keys_of("alice") == [other]

    @pytest.mark.parametrize(
        "principal", ["../../etc/passwd", "*", "{}", "ü\n\0", "x" * 4000, "\ud800"]
    )
    def test_a_principal_is_never_taken_for_a_path_or_a_pattern(
        self, backend: Backend, key: str, principal: str
    ) -> None:
        backend.index.add("other", another_key(), later())
        backend.index.add(principal, key, later())
        assert backend.index.keys_of(principal) == [key]

    def test_an_index_entry_that_has_expired_is_not_shown(self, backend: Backend, key: str) -> None:
        backend.index.add("alice", key, time.time() - 5)
        assert backend.index.keys_of("alice") == []

    # -- the quarantine ----------------------------------------------------------------------------

    @pytest.fixture
    def quarantine(self, backend: Backend) -> Quarantine:
        """The store's quarantine, if it has one."""
        if backend.quarantine is None:
            pytest.skip("the store has no quarantine")
        return backend.quarantine

    def test_a_record_set_aside_is_gone_and_counted(
        self, backend: Backend, quarantine: Quarantine, key: str
    ) -> None:
        backend.sessions.create(key, b"damaged", later())
        quarantine.set_aside(key, 1, "for the test")
        assert backend.sessions.load(key) is None
        assert quarantine.quarantined() == 1
        assert list(backend.iteration.keys()) == []
        with pytest.raises(SessionGone):
            backend.sessions.save(key, b"late", later(), expected_version=1)
        quarantine.set_aside(key, 1, "again")

    def test_a_record_at_another_version_is_not_set_aside(
        self, backend: Backend, quarantine: Quarantine, key: str
    ) -> None:
        backend.sessions.create(key, b"damaged", later())
        quarantine.set_aside(key, 2, "not at this version")
        assert backend.sessions.load(key) is not None

    def test_the_quarantine_is_bounded(self, backend: Backend, quarantine: Quarantine) -> None:
        for _ in range(110):
            key = another_key()
            backend.sessions.create(key, b"damaged", later())
            quarantine.set_aside(key, 1, "for the test")
        assert 90 <= quarantine.quarantined() <= 100

    # -- locks -------------------------------------------------------------------------------------

    def test_a_lock_keeps_others_out(self, backend: Backend, key: str) -> None:
        with backend.locks.hold(key, 1.0):
            started = time.monotonic()
            with pytest.raises(LockTimeout), backend.locks.hold(key, 0.05):
                pytest.fail("held twice")
            assert time.monotonic() - started < 5
        with backend.locks.hold(key, 0.0):
            pass

    def test_a_lock_is_of_one_session(self, backend: Backend, key: str) -> None:
        with backend.locks.hold(key, 1.0), backend.locks.hold(another_key(), 0.0):
            pass

    def test_a_lock_is_free_after_an_error(self, backend: Backend, key: str) -> None:
        with pytest.raises(ZeroDivisionError), backend.locks.hold(key, 0.0):
            _ = 1 / 0
        with backend.locks.hold(key, 0.0):
            pass

    def test_threads_take_turns_at_a_lock(self, backend: Backend, key: str) -> None:
        inside = most = 0

        def visit(_: int) -> None:
            nonlocal inside, most
            with backend.locks.hold(key, 20.0):
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(visit, range(60)))
        assert most == 1
