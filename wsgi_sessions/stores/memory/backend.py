"""A store in this process's memory: for tests, development and applications of one process."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.errors import LockTimeout, SessionExists, SessionGone, VersionConflict
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.base import Backend, Record
from wsgi_sessions.stores.memory.contexts import MemoryContexts
from wsgi_sessions.stores.memory.leases import MemoryLeases
from wsgi_sessions.stores.memory.refreshes import MemoryRefreshes
from wsgi_sessions.stores.memory.versions import MemoryVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_QUARANTINED = 100


def open_memory(*, clock: Callable[[], float] = wall_clock) -> Backend:
    """A backend of its own: two calls share nothing. `clock` gives seconds since the epoch."""
    store = MemoryStore(clock)
    leases = MemoryLeases(clock)
    return Backend(
        name="memory",
        sessions=store,
        iteration=store,
        index=MemoryIndex(clock),
        locks=MemoryLocks(),
        quarantine=store,
        contexts=MemoryContexts(),
        expired=store,
        versions=MemoryVersions(clock),
        leases=leases,
        lease_listing=leases,
        refreshes=MemoryRefreshes(),
    )


class MemoryStore:
    """Records in a dictionary. Sessions end with the process, and no other process sees them."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._quarantine: dict[str, Record] = {}
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

    def save(self, key: str, payload: bytes, expires_at: float, *, expected_version: int) -> int:
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
        """Memory always answers."""

    def close(self) -> None:
        """Nothing is open."""

    def keys(self) -> Iterator[str]:
        """See `SessionIteration.keys`."""
        with self._lock:
            keys = [key for key in self._records if self._live(key) is not None]
        return iter(keys)

    def count(self) -> int:
        """See `SessionIteration.count`."""
        return sum(1 for _ in self.keys())

    def delete_expired(self, limit: int) -> int:
        """See `ExpiredDeletion.delete_expired`."""
        with self._lock:
            expired = [key for key in self._records if self._live(key) is None][:limit]
            for key in expired:
                del self._records[key]
        return len(expired)

    def count_expired(self) -> int:
        """See `ExpiredDeletion.count_expired`."""
        with self._lock:
            return sum(self._live(key) is None for key in self._records)

    def set_aside(self, key: str, version: int, reason: str) -> None:  # noqa: ARG002  # in the log
        """See `Quarantine.set_aside`."""
        with self._lock:
            current = self._records.get(key)
            if current is not None and current.version == version:
                self._quarantine[key] = self._records.pop(key)
                while len(self._quarantine) > MAX_QUARANTINED:
                    del self._quarantine[next(iter(self._quarantine))]

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return len(self._quarantine)

    def _live(self, key: str) -> Record | None:
        record = self._records.get(key)
        return record if record is not None and record.expires_at > self._clock() else None


class MemoryIndex:
    """Which sessions belong to a principal."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._keys: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._lock = threading.Lock()

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """See `PrincipalIndex.add`."""
        with self._lock:
            self._keys[principal][key] = expires_at

    def remove(self, principal: str, key: str) -> None:
        """See `PrincipalIndex.remove`."""
        with self._lock:
            keys = self._keys.get(principal, {})
            keys.pop(key, None)
            if not keys:
                self._keys.pop(principal, None)

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`."""
        now = self._clock()
        with self._lock:
            keys = self._keys.get(principal, {})
            return [key for key, expires_at in keys.items() if expires_at > now]


class MemoryLocks:
    """A mutex per key, among the threads of this process."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[None]:
        """See `SessionLocks.hold`."""
        deadline = monotonic() + timeout
        while not self._try(key):
            if monotonic() >= deadline:
                raise LockTimeout(
                    f"session {short_key(key)} is held by another request for over {timeout} s",
                    operation="lock",
                    key=short_key(key),
                )
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311  # spreads waiters, no secret
        try:
            yield
        finally:
            self._held.discard(key)

    def _try(self, key: str) -> bool:
        with self._lock:
            if key in self._held:
                return False
            self._held.add(key)
            return True
