"""Loading of stored sessions: only whole and live ones leave here. No WSGI."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import FaultLog
from wsgi_sessions.contract import Record
from wsgi_sessions.core.commit.succession import Succession
from wsgi_sessions.core.draft import Snapshot
from wsgi_sessions.core.record.envelopes import Envelopes
from wsgi_sessions.core.record.tombstones import ENDED, Tombstone, tombstone_in
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import CorruptRecord, SessionGone, StoreUnavailable
from wsgi_sessions.identity import short_key, store_key

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.core.events import Events
    from wsgi_sessions.core.record.envelope import Envelope

ReadRecord = Callable[[str], Record | None]
_log = texts.log(__name__)

MOST_APART = 900.0
"""Seconds by which clocks of hosts and servers may differ.

A record that expired longer ago, or was made later than that from now, is not accepted, though its
server still has it: a dump may have been restored without its expiries, or a clock been moved.
"""


class Loader:
    """Reads sessions from one backend.

    A damaged record is set aside, a session past its absolute lifetime is deleted: neither is
    found, and each is an event. A session that got another id has left a tombstone.

    `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        backend: Backend,
        lifetimes: Lifetimes,
        events: Events,
        report: EndingReport,
        clock: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._sessions = backend.sessions
        self._absolute = lifetimes.absolute
        self.envelopes = Envelopes()
        self._open = self.envelopes.open
        self._events = events
        self._report = report
        self._clock = clock
        self._succession = Succession(backend.sessions, clock)
        self._trouble = FaultLog(_log, "dead or damaged records stay, and are not served")
        self._key_of = lru_cache(maxsize=1024)(store_key)
        if backend.quarantine is not None:
            backend.quarantine.report_to(self._found_damaged)

    def open(
        self, session_id: str, reader: ReadRecord | None = None
    ) -> Snapshot | Tombstone | None:
        """Return the stored session with this id, or its tombstone. Raises StoreUnavailable.

        `reader` reads the record in place of the store's own `load`.
        """
        key = self._key_of(session_id)
        record = self._sessions.load(key) if reader is None else reader(key)
        return None if record is None else self._opened(session_id, key, record)

    def load(self, session_id: str) -> Snapshot | None:
        """Return the stored session with this id, or None. Raises StoreUnavailable."""
        return _alive(self.open(session_id))

    def find(self, key: str) -> Snapshot | None:
        """Return the stored session under this key, with an empty id, or None.

        Raises StoreUnavailable.
        """
        return _alive(self.look_up(key))

    def look_up(self, key: str) -> Snapshot | Tombstone | None:
        """Like `find`, or return the session's tombstone."""
        record = self._sessions.load(key)
        return None if record is None else self._opened("", key, record)

    def reload(self, snapshot: Snapshot) -> Snapshot | None:
        """Return the same session as it is stored now, or None. Raises StoreUnavailable.

        After a rotation, it is the session under its new id, which stays unknown. After a log-in,
        or another change of rights, there is none.
        """
        record = self._sessions.load(snapshot.key)
        if record is None:
            return None
        found = self._opened(snapshot.session_id, snapshot.key, record)
        if not isinstance(found, Tombstone):
            return found
        try:
            return self._succession.live_successor(found)
        except SessionGone:
            return None

    def is_alive(self, snapshot: Snapshot) -> bool:
        """Return whether a session is still stored under this very id. Raises StoreUnavailable."""
        record = self._sessions.load(snapshot.key)
        found = record and self._opened(snapshot.session_id, snapshot.key, record)
        return isinstance(found, Snapshot)

    def set_aside(self, snapshot: Snapshot, reason: str) -> None:
        """Set a record aside in which a value turned out to be damaged."""
        self._set_aside(snapshot.key, snapshot.version, reason)

    def _opened(self, session_id: str, key: str, record: Record) -> Snapshot | Tombstone | None:
        try:
            envelope = self._open(record.payload, key)
        except CorruptRecord as error:
            self._set_aside(key, record.version, error.reason)
            return None
        if ENDED in envelope.metadata:
            return tombstone_in(key, envelope, self._clock())
        now, expires_at = self._clock(), record.expires_at
        if (
            -MOST_APART <= now - envelope.created_at < self._absolute
            and now - expires_at < MOST_APART
        ):
            return Snapshot(session_id, key, record.version, expires_at, envelope)
        self._over(key, envelope, now - envelope.created_at)
        return None

    def _over(self, key: str, envelope: Envelope, age: float) -> None:
        """Report a session that has expired, though its server still has it."""
        if age >= self._absolute:
            self._events.emit("expired", short_key(key), lifetime="absolute")
            if self._clear(lambda: self._backend.sessions.delete(key)):
                over_since = envelope.created_at + self._absolute
                self._report.note(key, Cause("expired-absolute"), envelope, at=over_since)
        else:
            # Not deleted: if this host's clock is wrong, the other hosts go on with it.
            reason = "idle" if age >= 0 else "not begun"
            self._events.emit("expired", short_key(key), lifetime=reason)

    def _set_aside(self, key: str, version: int, reason: str) -> None:
        self._events.emit("corrupt", short_key(key), reason=reason)
        quarantine = self._backend.quarantine
        if quarantine is not None and self._clear(
            lambda: quarantine.set_aside(key, version, reason)
        ):
            self._found_damaged(key, reason)

    def _found_damaged(self, key: str, reason: str) -> None:
        self._report.note(key, Cause("damaged", detail=reason))

    def _clear(self, step: Callable[[], object]) -> bool:
        """Take a step that no request needs: if the store takes no writes, it is served anyway.

        Return whether it was taken.
        """
        try:
            step()
        except StoreUnavailable as error:
            self._trouble.met(error)
            return False
        self._trouble.over()
        return True


def _alive(found: Snapshot | Tombstone | None) -> Snapshot | None:
    return None if isinstance(found, Tombstone) else found
