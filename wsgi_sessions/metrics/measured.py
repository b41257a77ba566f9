"""A store whose calls are counted and timed: the protocols of `contract`, around another's."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from wsgi_sessions.errors import (
    LockTimeout,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    VersionConflict,
)
from wsgi_sessions.stores.breaker import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend, LeasedLoading, Record, SessionStore
    from wsgi_sessions.metrics.meter import ProcessMeter
    from wsgi_sessions.mutex import Fence, Held, SessionLocks


def measured(backend: Backend, meter: ProcessMeter) -> Backend:
    """Return a backend whose calls for sessions, and waits for their mutexes, are counted."""
    loading = backend.leased_loading
    return replace(
        backend,
        sessions=MeasuredStore(backend.sessions, meter),
        locks=MeasuredLocks(backend.locks, meter),
        leased_loading=None if loading is None else MeasuredLoading(loading, meter),
    )


class MeasuredStore:
    """A `SessionStore` that counts each call of another one."""

    def __init__(self, store: SessionStore, meter: ProcessMeter) -> None:
        self._store = store
        self._count = meter.store_call
        self._failed = _Failures(meter)
        self.ping = store.ping
        self.close = store.close

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore`."""
        started = perf_counter()
        try:
            self._store.create(key, payload, expires_at)
        except Exception as error:
            self._failed("create", error, perf_counter() - started)
            raise
        self._count("create ok", perf_counter() - started, len(payload))

    def load(self, key: str) -> Record | None:
        """See `SessionStore`."""
        started = perf_counter()
        try:
            record = self._store.load(key)
        except Exception as error:
            self._failed("load", error, perf_counter() - started)
            raise
        self._count("load absent" if record is None else "load ok", perf_counter() - started)
        return record

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        """See `SessionStore`."""
        started = perf_counter()
        try:
            version = self._store.save(
                key, payload, expires_at, expected_version=expected_version, fence=fence
            )
        except Exception as error:
            self._failed("save", error, perf_counter() - started)
            raise
        self._count("save ok", perf_counter() - started, len(payload))
        return version

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore`."""
        started = perf_counter()
        try:
            self._store.touch(key, expires_at)
        except Exception as error:
            self._failed("touch", error, perf_counter() - started)
            raise
        self._count("touch ok", perf_counter() - started)

    def delete(self, key: str) -> None:
        """See `SessionStore`."""
        started = perf_counter()
        try:
            self._store.delete(key)
        except Exception as error:
            self._failed("delete", error, perf_counter() - started)
            raise
        self._count("delete ok", perf_counter() - started)


class MeasuredLoading:
    """A `LeasedLoading` that counts each call of another one, as a load."""

    def __init__(self, loading: LeasedLoading, meter: ProcessMeter) -> None:
        self._loading = loading
        self._count = meter.store_call
        self._failed = _Failures(meter)

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """See `LeasedLoading`."""
        started = perf_counter()
        try:
            found = self._loading.load_and_acquire(key, holder, ttl)
        except Exception as error:
            self._failed("load", error, perf_counter() - started)
            raise
        self._count("load absent" if found[0] is None else "load ok", perf_counter() - started)
        return found


class MeasuredLocks:
    """`SessionLocks` whose waits are counted. A mere try that fails is not a wait."""

    def __init__(self, locks: SessionLocks, meter: ProcessMeter) -> None:
        self._locks = locks
        self._waited = meter.waited

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        """See `SessionLocks`."""
        started = perf_counter()
        with ExitStack() as stack:
            try:
                held = stack.enter_context(self._locks.hold(key, timeout))
            except LockTimeout:
                if timeout > 0:
                    self._waited("timed-out", perf_counter() - started)
                raise
            self._waited("acquired", perf_counter() - started)
            yield held


class _Failures:
    """Counts a call that raised."""

    def __init__(self, meter: ProcessMeter) -> None:
        self._meter = meter

    def __call__(self, operation: str, error: Exception, seconds: float) -> None:
        outcome = outcome_of(error)
        if outcome == "not-asked":
            self._meter.store_refused(operation, seconds)
        else:
            self._meter.store_call(f"{operation} {outcome}", seconds)


def outcome_of(error: Exception) -> str:
    """Return one of the catalogue's `OUTCOMES` for an error of a store."""
    if isinstance(error, VersionConflict):
        return "conflict"
    if isinstance(error, SessionGone):
        return "gone"
    if isinstance(error, SessionExists):
        return "exists"
    if isinstance(error, StoreUnavailable):
        return "not-asked" if isinstance(error.__cause__, CircuitOpen) else "unavailable"
    return "failed"
