"""Cycling: a session gets another id. Nothing is lost, and the old id is dead at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from wsgi_sessions.core.commit.attempts import MAX_ATTEMPTS, contended
from wsgi_sessions.core.draft import CHAIN, Snapshot, chain_of
from wsgi_sessions.core.merge.conflict import RunAgain
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import open_sealed, seal
from wsgi_sessions.core.record.tombstones import (
    TOMBSTONE_SECONDS,
    UNANNOUNCED,
    Tombstone,
    TombstoneKind,
    tombstone,
)
from wsgi_sessions.errors import (
    CorruptRecord,
    LockLost,
    SessionConflict,
    SessionGone,
    SessionSuperseded,
    SessionTooLarge,
    VersionConflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Record, SessionStore
    from wsgi_sessions.core.commit.creation import Creator, Sealed
    from wsgi_sessions.core.commit.pending import Pending
    from wsgi_sessions.core.commit.succession import Succession
    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.record.envelope import Envelope

    Merge = Callable[[Snapshot, Pending, Snapshot], tuple[Envelope, list[Conflict]]]
    Report = Callable[[Snapshot, Snapshot, Pending, list[Conflict]], None]


class Cycler:
    """Gives sessions in a store other ids.

    `sealed` is as for `Creator`. `merged` makes one envelope of a request's changes and the stored
    session; `report` gets the conflicts between the two.
    """

    def __init__(
        self,
        store: SessionStore,
        succession: Succession,
        creator: Creator,
        *,
        sealed: Sealed,
        merged: Merge,
        report: Report,
    ) -> None:
        self._store = store
        self._succession = succession
        self._creator = creator
        self._sealed = sealed
        self._merged = merged
        self._report = report

    def cycle(
        self, base: Snapshot, pending: Pending, *, kind: TombstoneKind, created_at: float
    ) -> Snapshot:
        """Move the session, with its changes, to a new id; the old one is dead at once.

        The new record is stored first, unlisted and for a minute: a crash between the steps leaves
        the old session as it was, and the new record, whose id no client has, expires. Then a
        tombstone replaces the old record by compare-and-set: an earlier save is merged, a later
        save finds the tombstone. Last, the new record gets its own expiry.

        Raises SessionGone if the session was destroyed, and SessionSuperseded if another request
        gave it another id, except for a log-in that finds a mere rotation: it goes on from there.
        """
        envelope, _ = self._moved(base, pending, base, created_at)
        new = self._creator.create(pending, envelope, pending.commit.at + TOMBSTONE_SECONDS)
        try:
            return self._announce(self._bury(base, pending, new, kind))
        except (SessionGone, SessionConflict, SessionTooLarge, CorruptRecord, LockLost, RunAgain):
            self._store.delete(new.key)  # refused: no client has its id
            raise

    def _bury(
        self, base: Snapshot, pending: Pending, new: Snapshot, kind: TombstoneKind
    ) -> Snapshot:
        """Replace the old record by a tombstone, once `new` holds all that it holds."""
        theirs = base
        conflicts: list[Conflict] = []
        stone = tombstone(pending.commit, kind, new.key)
        expires_at = pending.commit.at + TOMBSTONE_SECONDS
        for _ in range(MAX_ATTEMPTS):
            try:
                self._store.save(
                    theirs.key,
                    seal(stone, theirs.key),
                    expires_at,
                    expected_version=theirs.version,
                    fence=pending.fence,
                )
            except VersionConflict as conflict:
                if pending.is_in(open_sealed(conflict.current.payload, theirs.key)):
                    break  # ours: the reply was lost
                theirs = self._overtaker(theirs, conflict.current, kind)
                envelope, conflicts = self._moved(base, pending, theirs, new.envelope.created_at)
                new = self._replace(new, envelope, new.expires_at)
            else:
                break
        else:
            self._store.delete(new.key)
            raise contended(base.key)
        if conflicts:
            self._report(base, theirs, pending, conflicts)
        return new

    def _moved(
        self, base: Snapshot, pending: Pending, theirs: Snapshot, created_at: float
    ) -> tuple[Envelope, list[Conflict]]:
        """Like `_merged`, for a record under another key; the same mutex locks it as before."""
        envelope, conflicts = self._merged(base, pending, theirs)
        envelope.created_at = created_at
        more = {CHAIN: chain_of(base), UNANNOUNCED: True}
        added = {name: msgspec.Raw(encode(value)) for name, value in more.items()}
        envelope.metadata = {**envelope.metadata, **added}
        return envelope, conflicts

    def _announce(self, new: Snapshot) -> Snapshot:
        """List a record whose id may leave now, and give it the expiry of a session.

        Raises SessionGone if a log-out has reached it already.
        """
        for _ in range(MAX_ATTEMPTS):
            metadata = {k: v for k, v in new.envelope.metadata.items() if k != UNANNOUNCED}
            envelope = replace(new.envelope, metadata=metadata)
            payload, expires_at = self._sealed(envelope, new.key)
            try:
                version = self._store.save(
                    new.key, payload, expires_at, expected_version=new.version
                )
            except VersionConflict as conflict:
                found = self._succession.opened(new, conflict.current)
                if isinstance(found, Tombstone):
                    return new  # another request, which came by the old id, gave it yet another one
                if UNANNOUNCED not in found.envelope.metadata:
                    return found  # ours: the reply was lost
                new = found
            else:
                return replace(new, version=version, expires_at=expires_at, envelope=envelope)
        raise contended(new.key)

    def _overtaker(self, known: Snapshot, record: Record, kind: TombstoneKind) -> Snapshot:
        """Return the session that a request finds where another one gave the id first.

        Of two rotations, one is enough: a second one would make the cookie of the first worthless.
        """
        found = self._succession.opened(known, record)
        if isinstance(found, Snapshot):
            return found
        if kind == "cycle":
            raise SessionSuperseded(found)
        return self._succession.live_successor(found)

    def _replace(self, snapshot: Snapshot, envelope: Envelope, expires_by: float) -> Snapshot:
        """Save a record that no other request knows of yet."""
        payload, expires_at = self._sealed(envelope, snapshot.key)
        expires_at = min(expires_at, expires_by)
        try:
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=snapshot.version
            )
        except VersionConflict as conflict:  # only our own save, whose reply was lost
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=conflict.current.version
            )
        return replace(snapshot, version=version, expires_at=expires_at, envelope=envelope)
