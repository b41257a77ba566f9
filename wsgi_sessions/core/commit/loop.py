"""The commit loop: a request's changes become the stored session. All consistency is here.

It makes the guarantees out of the store's `create`, `save` (compare-and-set) and `delete`:

- a save that finds another version is merged onto it and tried again, so none is lost silently;
- a save that finds no record is refused, so a destroyed session stays destroyed;
- a save that finds the tombstone of a session with a new id goes on there, unless that was for a
  log-in or another change of rights: then it is refused;
- each commit leaves a random token in the record. If a reply was lost and the save is tried again,
  a record with its token means that the save had succeeded, so nothing is done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.core.commit.attempts import MAX_ATTEMPTS, contended, yield_to_others
from wsgi_sessions.core.commit.creation import Creator
from wsgi_sessions.core.commit.cycling import Cycler
from wsgi_sessions.core.commit.pending import Pending as Pending
from wsgi_sessions.core.commit.pending import require_certainty
from wsgi_sessions.core.commit.succession import Succession
from wsgi_sessions.core.draft import CHAIN, Snapshot
from wsgi_sessions.core.limits.lifetimes import Lifetimes as Lifetimes  # noqa: TC001  # found here too
from wsgi_sessions.core.limits.sizes import SizeRule, heaviest
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.record.history import CONFLICTED
from wsgi_sessions.core.record.tombstones import (
    Tombstone,
    TombstoneKind,
)
from wsgi_sessions.errors import (
    SessionConflict,
    VersionConflict,
)
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Record, SessionStore
    from wsgi_sessions.core.events import Events
    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.merge.rules import MergeRules
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.core.record.envelopes import Envelopes

    WhenConflicting = Callable[[list[Conflict]], object]

OnConflict = Literal["last-wins", "raise"]
Activity = Literal["user", "background"]


class Committer:
    """Stores the changes of sessions. Knows no session object, only snapshots and deltas.

    `announce` gets the key and envelope of a new record, to index it, before any client gets its
    id; if it raises, the record is deleted again. `when_conflicting` gets the conflicts of a merge
    before they are reported or refused; it may raise.
    """

    def __init__(
        self,
        store: SessionStore,
        lifetimes: Lifetimes,
        events: Events,
        *,
        on_conflict: OnConflict,
        max_size: int,
        clock: Callable[[], float],
        announce: Callable[[str, Envelope], None],
        envelopes: Envelopes,
        rules: MergeRules | None = None,
        when_conflicting: WhenConflicting | None = None,
    ) -> None:
        self._store = store
        self._seal = envelopes.seal
        self._lifetimes = lifetimes
        self._events = events
        self._on_conflict, self.rules = on_conflict, rules
        self._when_conflicting = when_conflicting
        self._sizes = SizeRule(max_size, lifetimes.anonymous)
        self._always_fine = self._sizes.always_fine
        self._clock = clock
        self._creator = Creator(store, self._sealed_now, announce, self._note_size)
        self._succession = Succession(store, clock)
        self._cycler = Cycler(
            store,
            self._succession,
            self._creator,
            sealed=self._sealed_now,
            merged=self._merged,
            report=self._report,
        )

    def create(self, pending: Pending, base: Snapshot | None = None) -> Snapshot:
        """Store a new session under a new id: `pending` alone, or onto a copy of `base`."""
        if base is None:
            return self._creator.create(pending, pending.alone())
        envelope, _ = self._merged(base, pending, base)
        envelope.created_at = pending.commit.at
        # `base` goes on elsewhere, under its own lock.
        envelope.metadata = {k: v for k, v in envelope.metadata.items() if k != CHAIN}
        return self._creator.create(pending, envelope)

    def create_as(self, session_id: str, pending: Pending, expires_by: float) -> Snapshot:
        """Store a new session under this id, which others may know too. It is not announced.

        Raises SessionExists if there is already a session under this id.
        """
        return self._creator.create_as(pending, pending.alone(), session_id, expires_by)

    def recreate(self, base: Snapshot, pending: Pending, expires_by: float) -> Snapshot:
        """Store a new session in place of `base`, under its id.

        Raises VersionConflict if `base` has changed, SessionGone if it was destroyed.
        """
        envelope = pending.alone()
        payload, expires_at = self._sealed(envelope, base.key, pending.commit.at)
        expires_at = min(expires_at, expires_by)
        try:
            version = self._store.save(base.key, payload, expires_at, expected_version=base.version)
        except VersionConflict as conflict:
            if not pending.is_in(open_sealed(conflict.current.payload, base.key)):
                raise
            version = conflict.current.version  # ours: the reply was lost
        return Snapshot(base.session_id, base.key, version, expires_at, envelope)

    def save(self, base: Snapshot, pending: Pending, activity: Activity = "user") -> Snapshot:
        """Merge the changes made on `base` into the stored session.

        A background commit leaves the expiry as it is (OWASP Session Management). Raises
        SessionGone if the session was destroyed, SessionSuperseded if a log-in gave it another id,
        SessionConflict under `on_conflict="raise"` or policy ``fail``, LockLost.
        """
        if pending.may_repeat and pending.is_in(base.envelope):
            self._events.emit("repeated", short_key(base.key), route=pending.commit.route)
            return base
        theirs = base
        for attempt in range(MAX_ATTEMPTS):
            envelope, conflicts = self._merged(base, pending, theirs)
            key = theirs.key
            payload, expires_at = self._sealed(envelope, key, pending.commit.at)
            if activity == "background":
                expires_at = theirs.expires_at
            try:
                version = self._store.save(
                    key, payload, expires_at, expected_version=theirs.version, fence=pending.fence
                )
            except VersionConflict as conflict:
                met, theirs = theirs, self._current(theirs, conflict.current)
                require_certainty(conflict, met, theirs, pending)
                if not pending.is_in(theirs.envelope):
                    yield_to_others(attempt)
                    continue
                done = theirs
            else:
                done = Snapshot(theirs.session_id, key, version, expires_at, envelope)
                if len(payload) > self._always_fine:
                    self._note_size(theirs.envelope, done, payload, pending.commit.route)
            if conflicts:
                self._report(base, theirs, pending, conflicts)
            self._count(attempt + 1, merged=theirs is not base and theirs is not done)
            return done
        raise contended(base.key)

    def _count(self, attempts: int, *, merged: bool) -> None:
        if self._events.meter is not None:
            self._events.meter.saved(attempts, merged=merged)

    def check(self, base: Snapshot, pending: Pending, theirs: Snapshot) -> None:
        """Report the conflicts of a merge of this onto `theirs`. Raises SessionConflict."""
        _, conflicts = self._merged(base, pending, theirs)
        if conflicts:
            self._report(base, theirs, pending, conflicts)

    def cycle(
        self, base: Snapshot, pending: Pending, *, kind: TombstoneKind, created_at: float
    ) -> Snapshot:
        """See `Cycler.cycle`."""
        return self._cycler.cycle(base, pending, kind=kind, created_at=created_at)

    def _merged(
        self, base: Snapshot, pending: Pending, theirs: Snapshot
    ) -> tuple[Envelope, list[Conflict]]:
        envelope, conflicts = pending.onto(base.envelope, theirs.envelope, self.rules)
        if conflicts and self._when_conflicting is not None:
            self._when_conflicting(conflicts)
        if conflicts and (
            self._on_conflict == "raise" or any(each.is_refused for each in conflicts)
        ):
            self._report(base, theirs, pending, conflicts)
            raise SessionConflict(conflicts)
        if conflicts:
            commit = pending.commit
            note = Raw(encode([commit.at, conflicts[0].key, commit.route]))
            envelope.metadata = {**envelope.metadata, CONFLICTED: note}
        return envelope, conflicts

    def _sealed(self, envelope: Envelope, key: str, now: float) -> tuple[bytes, float]:
        payload, lifetimes = self._seal(envelope, key), self._lifetimes
        if len(payload) > self._always_fine:
            self._sizes.check(envelope, len(payload))
        asked = lifetimes.asked(envelope)
        return payload, lifetimes.expiry(now, envelope.created_at, asked)

    def _sealed_now(self, envelope: Envelope, key: str) -> tuple[bytes, float]:
        return self._sealed(envelope, key, self._clock())

    def _note_size(
        self, before: Envelope | None, done: Snapshot, payload: bytes, route: str
    ) -> None:
        """Warn of a session that has just grown large, while it can still be stored."""
        size, after = len(payload), done.envelope
        if self._sizes.has_grown_large(before, after, size):
            self._events.emit(
                "large",
                short_key(done.key),
                size=size,
                limit=self._sizes.limit(after),
                keys=heaviest(after),
                route=route,
            )

    def _current(self, known: Snapshot, record: Record) -> Snapshot:
        """Return the live session that a save finds; its id is unknown if it has another one."""
        found = self._succession.opened(known, record)
        return self._succession.live_successor(found) if isinstance(found, Tombstone) else found

    def _report(
        self, base: Snapshot, theirs: Snapshot, pending: Pending, conflicts: list[Conflict]
    ) -> None:
        known = {commit.token for commit in base.envelope.commits} | {pending.commit.token}
        others = {c.route for c in theirs.envelope.commits if c.token not in known}
        # The names below a key may be a client's choice, and there may be any number of them.
        for key, kind, why in dict.fromkeys((each.key, each.kind, each.why) for each in conflicts):
            self._events.emit(
                "conflict",
                short_key(base.key),
                path=texts.named(key),
                kind=kind,
                route=pending.commit.route,
                others=sorted(others),
                **({"why": why} if why else {}),
            )
