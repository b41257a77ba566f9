"""Records: create, load, save, touch, delete."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.errors import SessionExists, SessionGone, VersionConflict
from wsgi_sessions.testing.contract.under_test import (
    Fixtures,
    about,
    another_key,
    later,
    state_of,
)

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.testing.contract.under_test import StoreUnderTest


class RecordLaws(Fixtures):
    """The laws of `SessionStore` about one record."""

    def test_nothing_is_there_at_first(self, backend: Backend, key: str) -> None:
        assert backend.sessions.load(key) is None
        backend.sessions.ping()

    def test_load_returns_what_create_stored(self, backend: Backend, key: str) -> None:
        expires_at = later()
        backend.sessions.create(key, b"\x00payload\xff", expires_at)
        assert backend.sessions.load(key) == about(1, b"\x00payload\xff", expires_at)

    def test_create_never_replaces(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"first", later())
        with pytest.raises(SessionExists):
            backend.sessions.create(key, b"second", later())
        assert state_of(backend.sessions.load(key)) == (1, b"first")

    def test_save_replaces_payload_and_expiry_and_counts_up(
        self, backend: Backend, key: str
    ) -> None:
        backend.sessions.create(key, b"1", later())
        for version in range(1, 6):
            saved = backend.sessions.save(
                key, b"x" * version, later(2000 + version), expected_version=version
            )
            assert saved == version + 1
            assert backend.sessions.load(key) == about(version + 1, b"x" * version, later(2000))

    def test_save_may_shorten_the_expiry(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"1", later())
        backend.sessions.touch(key, later(5000))
        backend.sessions.save(key, b"2", later(50), expected_version=1)
        assert backend.sessions.load(key) == about(2, b"2", later(50))

    @pytest.mark.parametrize("size", [0, 1, 100, 1900, 2000, 5000, 70_000, 900_000])
    def test_payloads_of_every_size_come_back(self, backend: Backend, key: str, size: int) -> None:
        """The payload grows, shrinks, and grows again."""
        payload = bytes(i % 251 for i in range(size))
        backend.sessions.create(key, payload, later())
        assert state_of(backend.sessions.load(key)) == (1, payload)
        backend.sessions.save(key, b"small", later(), expected_version=1)
        backend.sessions.save(key, payload + b"!", later(), expected_version=2)
        assert state_of(backend.sessions.load(key)) == (3, payload + b"!")

    @pytest.mark.parametrize("expected_version", [0, 1, 3, 99])
    def test_save_at_another_version_is_a_conflict_with_the_current_record(
        self, backend: Backend, key: str, expected_version: int
    ) -> None:
        backend.sessions.create(key, b"1", later())
        backend.sessions.save(key, b"2", later(), expected_version=1)
        with pytest.raises(VersionConflict) as caught:
            backend.sessions.save(key, b"late", later(), expected_version=expected_version)
        assert state_of(caught.value.current) == (2, b"2")
        assert not caught.value.is_after_retry
        assert state_of(backend.sessions.load(key)) == (2, b"2")

    def test_save_never_creates(self, backend: Backend, key: str) -> None:
        with pytest.raises(SessionGone):
            backend.sessions.save(key, b"x", later(), expected_version=1)
        assert backend.sessions.load(key) is None

    def test_a_deleted_record_stays_deleted(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"x", later())
        backend.sessions.delete(key)
        with pytest.raises(SessionGone):
            backend.sessions.save(key, b"late", later(), expected_version=1)
        backend.sessions.touch(key, later())
        assert backend.sessions.load(key) is None

    def test_delete_is_idempotent(self, backend: Backend, key: str) -> None:
        backend.sessions.delete(key)
        backend.sessions.create(key, b"x", later())
        for _ in range(2):
            backend.sessions.delete(key)
        assert backend.sessions.load(key) is None

    def test_touch_moves_the_expiry_and_nothing_else(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"x", later(100))
        backend.sessions.touch(key, later(500))
        assert backend.sessions.load(key) == about(1, b"x", later(500))
        assert backend.sessions.save(key, b"y", later(100), expected_version=1) == 2

    def test_touch_never_shortens(self, backend: Backend, key: str) -> None:
        backend.sessions.create(key, b"x", later(500))
        for asked, stands in ((100, 500), (900, 900), (700, 900)):
            backend.sessions.touch(key, later(asked))
            assert backend.sessions.load(key) == about(1, b"x", later(stands))

    def test_touch_never_creates(self, backend: Backend, key: str) -> None:
        backend.sessions.touch(key, later())
        assert backend.sessions.load(key) is None

    def test_records_do_not_mix(self, backend: Backend) -> None:
        keys = [another_key() for _ in range(20)]
        for number, key in enumerate(keys):
            backend.sessions.create(key, str(number).encode(), later())
        backend.sessions.delete(keys[3])
        for number, key in enumerate(keys):
            expected = None if number == 3 else (1, str(number).encode())
            assert state_of(backend.sessions.load(key)) == expected

    def test_a_closed_store_opens_again(
        self, store: StoreUnderTest, backend: Backend, key: str
    ) -> None:
        backend.sessions.create(key, b"x", later())
        backend.close()
        if store.processes == "all":
            assert state_of(backend.sessions.load(key)) == (1, b"x")
            with closing(store.open()) as other:
                assert state_of(other.sessions.load(key)) == (1, b"x")
        backend.sessions.create(another_key(), b"y", later())
