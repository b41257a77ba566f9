"""A store that accepts only sessions that began after it was last left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.errors import CorruptRecord, SessionExists

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, LeasedLoading, Record, SessionStore


def not_before(backend: Backend, moment: float) -> Backend:
    """The same store; what began before `moment` (seconds since the epoch) is as if not there.

    It stays where it is, until it expires: another host may not have left the store.
    """
    if moment <= 0:
        return backend
    loading = backend.leased_loading and LaterLoading(backend.leased_loading, moment)
    sessions = LaterSessions(backend.sessions, moment)
    return replace(backend, sessions=sessions, leased_loading=loading)


class LaterSessions:
    """`SessionStore` of sessions that began at or after a moment."""

    def __init__(self, sessions: SessionStore, moment: float) -> None:
        self._sessions = sessions
        self._moment = moment
        self.save = sessions.save  # a save needs a session that was loaded
        self.touch = sessions.touch
        self.delete = sessions.delete
        self.ping = sessions.ping
        self.close = sessions.close

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore.create`. A hidden record does not block it."""
        try:
            self._sessions.create(key, payload, expires_at)
        except SessionExists:
            if self.load(key) is not None:
                raise
            self._sessions.delete(key)
            self._sessions.create(key, payload, expires_at)

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        return _later(key, self._sessions.load(key), self._moment)


class LaterLoading:
    """`LeasedLoading` of sessions that began at or after a moment."""

    def __init__(self, loading: LeasedLoading, moment: float) -> None:
        self._loading = loading
        self._moment = moment

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """See `LeasedLoading.load_and_acquire`; the lease of a hidden session expires."""
        record, acquired = self._loading.load_and_acquire(key, holder, ttl)
        return _later(key, record, self._moment), acquired


def _later(key: str, record: Record | None, moment: float) -> Record | None:
    if record is None:
        return None
    try:
        return record if open_sealed(record.payload, key).created_at >= moment else None
    except CorruptRecord:
        return record  # the caller sets it aside on opening it
