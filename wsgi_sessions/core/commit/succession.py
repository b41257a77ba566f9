"""Succession: from the record that a request knew to the session's present one; ending both.

Everything here raises StoreUnavailable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import Snapshot
from wsgi_sessions.core.record.envelope import open_sealed, seal
from wsgi_sessions.core.record.tombstones import (
    ENDED,
    TOMBSTONE_SECONDS,
    Tombstone,
    grave,
    tombstone_in,
)
from wsgi_sessions.errors import (
    CorruptRecord,
    LockTimeout,
    SessionGone,
    SessionSuperseded,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Record, SessionStore
    from wsgi_sessions.endings import EndReason

_MAX_STEPS = 20  # the most ids of one session within the minute for which tombstones count
_MAX_ATTEMPTS = 50
_BIRTH = "imported"  # see `importers.receipts`

_log = texts.log(__name__)


class Succession:
    """Follows sessions from id to id in one store. `clock`: seconds since the epoch."""

    def __init__(self, store: SessionStore, clock: Callable[[], float] = wall_clock) -> None:
        self._store = store
        self._clock = clock

    def opened(self, known: Snapshot, record: Record) -> Snapshot | Tombstone:
        """Return the session in a record under the key of `known`, as it is now.

        Raises SessionGone for a record that leads nowhere, CorruptRecord and UnsupportedFormat.
        """
        envelope = open_sealed(record.payload, known.key)
        if ENDED not in envelope.metadata:
            return Snapshot(
                known.session_id, known.key, record.version, record.expires_at, envelope
            )
        found = tombstone_in(known.key, envelope, self._clock())
        if found is None:
            raise SessionGone("the session has ended")
        return found

    def live_successor(self, tombstone: Tombstone) -> Snapshot:
        """Return the live session behind a tombstone, without its id, if no log-in lies between.

        Raises SessionSuperseded if one does, SessionGone if the session has ended since.
        """
        for _ in range(_MAX_STEPS):
            if tombstone.kind == "login":
                raise SessionSuperseded(tombstone)
            found = self._at(tombstone.successor)
            if isinstance(found, Snapshot):
                return found
            if found is None:
                break
            tombstone = found
        raise SessionGone("the session has ended")

    def end(
        self, doomed: Snapshot | Tombstone, why: EndReason, *, beyond_logins: bool = True
    ) -> Iterator[Snapshot]:
        """End a session and all its successors, under any id. Returns the ended sessions.

        Compare-and-set follows a session that gets another id at this moment. A store that takes no
        writes can still delete; there, a session that gets another id between two calls is missed.
        With `beyond_logins` false, sessions that began with a log-in since are spared.
        """
        found: Snapshot | Tombstone | None = doomed
        for _ in range(_MAX_STEPS):
            if isinstance(found, Snapshot):
                ended, found = found, self._bury(found, why)
                if found is None:
                    yield ended
            if found is None or (found.kind == "login" and not beyond_logins):
                return
            found = self._at(found.successor)

    def _at(self, key: str) -> Snapshot | Tombstone | None:
        record = self._store.load(key)
        try:
            return None if record is None else self.opened(_known(key), record)
        except (SessionGone, CorruptRecord):
            return None

    def _bury(self, session: Snapshot, why: EndReason) -> Tombstone | None:
        """End one record. Returns the tombstone that was there instead, if any."""
        stone = seal(grave(why, self._clock()), session.key)
        version = session.version
        for _ in range(_MAX_ATTEMPTS):
            try:
                until = self._clock() + TOMBSTONE_SECONDS
                self._store.save(session.key, stone, until, expected_version=version)
            except SessionGone:
                return None
            except LockTimeout:
                raise
            except StoreUnavailable:
                return self._delete_unless_replaced(session.key)
            except VersionConflict as conflict:
                found = self._met(session, conflict.current)
                if not isinstance(found, Snapshot):
                    return found
                version = found.version
            else:
                self._remove(session)
                return None
        return self._delete_unless_replaced(session.key)

    def _met(self, session: Snapshot, record: Record) -> Snapshot | Tombstone | None:
        try:
            return self.opened(session, record)
        except SessionGone:
            return None
        except (CorruptRecord, UnsupportedFormat):  # whatever it holds, it ends
            self._store.delete(session.key)
            return None

    def _delete_unless_replaced(self, key: str) -> Tombstone | None:
        found = self._at(key)
        if isinstance(found, Tombstone):
            return found
        self._store.delete(key)
        return None

    def _remove(self, session: Snapshot) -> None:
        """Remove a record that is dead already.

        Under a key that can recur (see `derived_id`) it stays for a minute, so that a late `create`
        finds the place taken.
        """
        if _BIRTH in session.envelope.metadata:
            return
        try:
            self._store.delete(session.key)
        except StoreUnavailable as error:
            _log.warning(
                "the remains of session %s stay until they expire: %s",
                short_key(session.key),
                error,
            )


def _known(key: str) -> Snapshot:
    """Return a session of which only the key is known."""
    return Snapshot("", key, 0, 0.0, grave("", 0.0))
