"""Expiry: an expired record is absent and may be deleted; a live one may not."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.errors import SessionGone
from wsgi_sessions.stores.sweeper import Sweeper
from wsgi_sessions.testing.contract.under_test import (
    Fixtures,
    PassingTime,
    about,
    another_key,
    later,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest
    from wsgi_sessions.upkeep import ExpiredDeletion


class ExpiryLaws(Fixtures):
    """The laws of `SessionStore` and `ExpiredDeletion` about time."""

    @pytest.fixture
    def clock(self, store: StoreUnderTest) -> PassingTime:
        """The clock that `aging` goes by."""
        return PassingTime(store)

    @pytest.fixture
    def aging(self, clock: PassingTime) -> Iterator[Backend]:
        """The store, whose time passes when `clock` says so."""
        with closing(clock.open()) as opened:
            yield opened

    @pytest.fixture
    def expired(self, store: StoreUnderTest, aging: Backend) -> ExpiredDeletion:
        """The deletion of expired records, for stores that keep them."""
        if aging.expired is None or store.removes_expired:
            pytest.skip("the server deletes expired records by itself")
        return aging.expired

    def test_an_expired_record_is_none(self, aging: Backend, clock: PassingTime, key: str) -> None:
        aging.sessions.create(key, b"x", clock() + clock.idle)
        clock.expire(aging, key)
        assert aging.sessions.load(key) is None
        assert list(aging.iteration.keys()) == []
        assert aging.iteration.count() == 0

    def test_an_expired_record_cannot_be_saved_or_touched(
        self, aging: Backend, clock: PassingTime, key: str
    ) -> None:
        aging.sessions.create(key, b"x", clock() + clock.idle)
        clock.expire(aging, key)
        aging.sessions.touch(key, clock() + 1000)
        assert aging.sessions.load(key) is None
        with pytest.raises(SessionGone):
            aging.sessions.save(key, b"y", clock() + 1000, expected_version=1)

    def test_create_replaces_an_expired_record(
        self, aging: Backend, clock: PassingTime, key: str
    ) -> None:
        aging.sessions.create(key, b"x", clock() + clock.idle)
        clock.expire(aging, key)
        aging.sessions.create(key, b"new", clock() + 1000)
        assert aging.sessions.load(key) == about(1, b"new", clock() + 1000)

    def test_an_expiry_in_the_past_is_gone_at_once(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"x", time.time() - 10)
        assert backend.sessions.load(key) is None
        other = another_key()
        backend.sessions.create(other, b"x", later())
        backend.sessions.save(other, b"y", time.time() - 10, expected_version=1)
        assert backend.sessions.load(other) is None

    def test_only_what_has_expired_is_deleted_in_chunks(
        self, aging: Backend, expired: ExpiredDeletion, clock: PassingTime
    ) -> None:
        dead = [another_key() for _ in range(7)]
        live = [another_key() for _ in range(3)]
        clock.idle *= 10
        for number, key in enumerate(live):
            aging.sessions.create(key, b"x", clock() + clock.idle)
            if number < 2:
                aging.sessions.touch(key, clock() + 5000)
            else:
                aging.sessions.save(key, b"y", clock() + 5000, expected_version=1)
        for key in dead:
            aging.sessions.create(key, b"x", clock() + clock.idle)
        clock.expire(aging, dead[-1])
        assert [expired.delete_expired(3) for _ in range(4)] == [3, 3, 1, 0]
        assert sorted(aging.iteration.keys()) == sorted(live)

    def test_expired_records_are_counted_where_they_stay(
        self, aging: Backend, expired: ExpiredDeletion, clock: PassingTime
    ) -> None:
        dead = [another_key() for _ in range(2)]
        for key in dead:
            aging.sessions.create(key, b"x", clock() + clock.idle)
        for _ in range(3):
            aging.sessions.create(another_key(), b"live", clock() + 5000)
        clock.expire(aging, *dead)
        assert expired.count_expired() == 2
        assert expired.delete_expired(100) == 2
        assert expired.count_expired() == 0

    def test_each_deleted_record_is_told_once(
        self, aging: Backend, expired: ExpiredDeletion, clock: PassingTime
    ) -> None:
        dead = {another_key(): b"a" * (n + 1) for n in range(5)}
        for key, payload in dead.items():
            aging.sessions.create(key, payload, clock() + clock.idle)
        live = another_key()
        aging.sessions.create(live, b"live", clock() + 5000)
        clock.expire(aging, *dead)
        told: list[tuple[str, bytes]] = []
        for deleted in (3, 2, 0):
            number = expired.delete_expired(3, lambda key, r: told.append((key, r.payload)))
            assert number == deleted
        assert sorted(told) == sorted(dead.items())

    def test_what_remains_of_an_expired_session_can_be_looked_at(
        self, aging: Backend, expired: ExpiredDeletion, clock: PassingTime, key: str
    ) -> None:
        aging.sessions.create(key, b"x", expires_at := clock() + clock.idle)
        live = another_key()
        aging.sessions.create(live, b"live", clock() + 5000)
        clock.expire(aging, key)
        assert [expired.remains(each) for each in (another_key(), live)] == [None, None]
        assert expired.remains(key) == about(1, b"x", expires_at)
        expired.delete_expired(10)
        assert expired.remains(key) is None

    def test_a_sweep_removes_no_live_session(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"x", later())
        assert Sweeper(backend, interval=60).sweep().expired == 0
        assert backend.sessions.load(key) == about(1, b"x", later())
