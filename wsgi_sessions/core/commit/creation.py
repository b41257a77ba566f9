"""Creation: a session gets its record, once, whatever happens to the store's replies."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import Snapshot
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionExists,
    StoreUnavailable,
    UnsupportedFormat,
    WriteInDoubt,
)
from wsgi_sessions.identity import new_id, store_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import SessionStore
    from wsgi_sessions.core.commit.pending import Pending
    from wsgi_sessions.core.record.envelope import Envelope

    NoteSize = Callable[[Envelope | None, Snapshot, bytes, str], None]
    Sealed = Callable[[Envelope, str], tuple[bytes, float]]


class Creator:
    """Creates records in a store.

    `sealed` gives the payload of an envelope under a key, and its expiry. `announce` gets the key
    and the envelope of a new record; if it raises, the record is deleted again. `note_size` gets
    the envelope before, the new one, its payload and the request's route.
    """

    def __init__(
        self,
        store: SessionStore,
        sealed: Sealed,
        announce: Callable[[str, Envelope], None],
        note_size: NoteSize,
    ) -> None:
        self._store = store
        self._sealed = sealed
        self._announce = announce
        self._note_size = note_size

    def create(
        self, pending: Pending, envelope: Envelope, expires_by: float = math.inf
    ) -> Snapshot:
        """Store the session that `pending` makes under a new id, and announce it.

        Raises StoreUnavailable and SessionTooLarge.
        """
        doubtful: str | None = None
        while True:
            session_id = new_id()
            try:
                snapshot = self.create_as(pending, envelope, session_id, expires_by)
            except SessionExists:
                continue  # another session's: try another id
            except WriteInDoubt as error:
                if doubtful is not None or not error.may_try_another:
                    raise
                # Under another id: if the first create arrives late, no client has its id.
                doubtful = store_key(session_id)
                continue
            self._announce_or_delete(snapshot.key, envelope)
            if doubtful is not None:
                with suppress(StoreUnavailable):  # then, if it was stored, it expires
                    self._store.delete(doubtful)
            return snapshot

    def create_as(
        self,
        pending: Pending,
        envelope: Envelope,
        session_id: str,
        expires_by: float,
    ) -> Snapshot:
        """Like `create`, under this id and not announced. Raises SessionExists if it is taken."""
        key = store_key(session_id)
        payload, expires_at = self._sealed(envelope, key)
        expires_at = min(expires_at, expires_by)
        try:
            self._store.create(key, payload, expires_at)
        except SessionExists:
            if not self._is_stored(pending, key):
                raise
        done = Snapshot(session_id, key, 1, expires_at, envelope)
        self._note_size(None, done, payload, pending.commit.route)
        return done

    def _announce_or_delete(self, key: str, envelope: Envelope) -> None:
        # Only once the record is there: a process that finds an entry without a record takes it for
        # dead and removes it, and the session would never be found by its principal.
        try:
            self._announce(key, envelope)
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # then it expires: no client has its id
                self._store.delete(key)
            raise

    def _is_stored(self, pending: Pending, key: str) -> bool:
        """Return whether the record under `key` came from `pending`: only the reply was lost."""
        record = self._store.load(key)
        try:
            return record is not None and pending.is_in(open_sealed(record.payload, key))
        except (CorruptRecord, UnsupportedFormat):
            return False
