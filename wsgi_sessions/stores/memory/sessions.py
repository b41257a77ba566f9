"""Session records in this process's memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Record
from wsgi_sessions.errors import SessionExists, SessionGone, VersionConflict
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.mutex import Fence
    from wsgi_sessions.upkeep import OnDeleted


class MemoryStore:
    """Records in a dictionary. Sessions end with the process, and no other process sees them."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore.create`."""
        with self._lock:
            if self._live(key) is not None:
                raise SessionExists(short_key(key))
            self._records[key] = Record(1, payload, expires_at)

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        with self._lock:
            return self._live(key)

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,  # noqa: ARG002 - what is held here cannot be lost
    ) -> int:
        """See `SessionStore.save`."""
        with self._lock:
            current = self._live(key)
            if current is None:
                raise SessionGone(short_key(key))
            if current.version != expected_version:
                raise VersionConflict(current)
            self._records[key] = Record(expected_version + 1, payload, expires_at)
            return expected_version + 1

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        with self._lock:
            current = self._live(key)
            if current is not None and expires_at > current.expires_at:
                self._records[key] = Record(current.version, current.payload, expires_at)

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`."""
        with self._lock:
            self._records.pop(key, None)

    def ping(self) -> None:
        """Do nothing: memory always answers."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        with self._lock:
            keys = [key for key in self._records if self._live(key) is not None]
        return iter(keys)

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """See `KeySearch.keys_from`."""
        with self._lock:
            return [key for key in self._records if key.startswith(beginning)][:limit]

    def delete_expired(self, limit: int, told: OnDeleted | None = None) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        with self._lock:
            expired = [key for key in self._records if self._live(key) is None][:limit]
            deleted = [(key, self._records.pop(key)) for key in expired]
        if told is not None:
            for key, record in deleted:
                told(key, record)
        return len(deleted)

    def remains(self, key: str) -> Record | None:
        """See `ExpiredDeletion.remains`."""
        with self._lock:
            record = self._records.get(key)
            return None if record is not None and self._live(key) is record else record

    def count_expired(self) -> int:
        """See `ExpiredDeletion.count_expired`."""
        with self._lock:
            return sum(self._live(key) is None for key in self._records)

    def take_out(self, key: str, version: int) -> Record | None:
        """Remove and return the record if it is at `version`; else return None."""
        with self._lock:
            current = self._records.get(key)
            if current is None or current.version != version:
                return None
            return self._records.pop(key)

    def _live(self, key: str) -> Record | None:
        record = self._records.get(key)
        return record if record is not None and record.expires_at > self._clock() else None
