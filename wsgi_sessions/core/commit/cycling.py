"""Cycling: how a session gets another id. Nothing is lost, and the old id is dead at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from wsgi_sessions.core.commit.attempts import MAX_ATTEMPTS, contended
from wsgi_sessions.core.draft import CHAIN, Snapshot, chain_of
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import open_sealed, seal
from wsgi_sessions.core.record.tombstones import (
    TOMBSTONE_SECONDS,
    UNTOLD,
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

    `sealed` is as for `Creator`. `merged` makes one envelope of what a request changed and what is
    stored; `report` is told of conflicts between the two.
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
        the old session as it was, and what nobody has the id of expires. Then a tombstone replaces
        the old record by compare-and-set: whoever saved meanwhile is merged, whoever saves later
        meets the tombstone. Last, the new record gets its own expiry.

        Raises SessionGone if the session was destroyed, and SessionSuperseded if it got another id
        meanwhile, but for a log-in that meets a mere rotation: that goes on from there.
        """
        envelope, _ = self._moved(base, pending, base, created_at)
        new = self._creator.create(pending, envelope, pending.commit.at + TOMBSTONE_SECONDS)
        try:
            return self._tell(self._bury(base, pending, new, kind))
        except (SessionGone, SessionConflict, SessionTooLarge, CorruptRecord, LockLost):
            self._store.delete(new.key)  # refused: nobody has its id
            raise

    def _bury(
        self, base: Snapshot, pending: Pending, new: Snapshot, kind: TombstoneKind
    ) -> Snapshot:
        """Put a tombstone in the place of the old record, once all that it holds is in `new`."""
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
        """As `_merged`, for a record under another key: it is locked by the same one as before."""
        envelope, conflicts = self._merged(base, pending, theirs)
        envelope.created_at = created_at
        more = {CHAIN: chain_of(base), UNTOLD: True}
        added = {name: msgspec.Raw(encode(value)) for name, value in more.items()}
        envelope.metadata = {**envelope.metadata, **added}
        return envelope, conflicts

    def _tell(self, new: Snapshot) -> Snapshot:
        """Let a record whose id may be told now be listed, and live as long as a session does.

        Raises SessionGone if a log-out has reached it already.
        """
        for _ in range(MAX_ATTEMPTS):
            metadata = {k: v for k, v in new.envelope.metadata.items() if k != UNTOLD}
            envelope = replace(new.envelope, metadata=metadata)
            payload, expires_at = self._sealed(envelope, new.key)
            try:
                version = self._store.save(
                    new.key, payload, expires_at, expected_version=new.version
                )
            except VersionConflict as conflict:
                found = self._succession.opened(new, conflict.current)
                if isinstance(found, Tombstone):
                    return new  # it has got yet another id, by somebody who came by the old one
                if UNTOLD not in found.envelope.metadata:
                    return found  # ours: the reply was lost
                new = found
            else:
                return replace(new, version=version, expires_at=expires_at, envelope=envelope)
        raise contended(new.key)

    def _overtaker(self, known: Snapshot, record: Record, kind: TombstoneKind) -> Snapshot:
        """What a new id meets in place of the session that it was for.

        Of two rotations, one is enough: the second would take the first one's cookie its worth.
        """
        found = self._succession.opened(known, record)
        if isinstance(found, Snapshot):
            return found
        if kind == "cycle":
            raise SessionSuperseded(found)
        return self._succession.heir(found)

    def _replace(self, snapshot: Snapshot, envelope: Envelope, expires_by: float) -> Snapshot:
        """Save a record that nobody else knows of yet."""
        payload, expires_at = self._sealed(envelope, snapshot.key)
        expires_at = min(expires_at, expires_by)
        try:
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=snapshot.version
            )
        except VersionConflict as conflict:  # only an own save whose reply was lost
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=conflict.current.version
            )
        return replace(snapshot, version=version, expires_at=expires_at, envelope=envelope)
