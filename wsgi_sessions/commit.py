"""The commit loop: how a request's changes become the stored session. All consistency is here.

Out of the store's `create`, `save` (compare-and-set) and `delete` it makes the guarantees:

- a save that meets another version is merged onto it and tried again, so none is lost silently;
- a save that meets no record is refused, so a destroyed session stays destroyed;
- a save that meets the tombstone of a session that was given another id goes on there, unless that
  was for a log-in or any other change of rights: then it is refused;
- each commit leaves a random token in the record. When a reply was lost and the save is tried
  again, a record that bears its token means that it had been done, so nothing is done twice.
"""

from __future__ import annotations

import math
import os
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from wsgi_sessions import texts
from wsgi_sessions.draft import LIFETIME, Snapshot
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionConflict,
    SessionExists,
    SessionGone,
    SessionSuperseded,
    SessionTooLarge,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.merge import apply, merge
from wsgi_sessions.serialization import (
    Commit,
    Envelope,
    history,
    open_sealed,
    seal,
    with_commit,
)
from wsgi_sessions.succession import Succession
from wsgi_sessions.tombstones import TOMBSTONE_SECONDS, Kind, Tombstone, tombstone

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.conflict import Conflict
    from wsgi_sessions.events import Events
    from wsgi_sessions.merge import Delta
    from wsgi_sessions.stores.base import Record, SessionStore

OnConflict = Literal["last-wins", "raise"]
Activity = Literal["user", "background"]
_TOKEN_SECONDS = 5.0  # longer than any operation's deadline: no retry comes later
_MAX_TOKENS = 8
_MAX_ATTEMPTS = 200


@dataclass(frozen=True)
class Lifetimes:
    """How long a session lives, in seconds: without a request (`idle`), and at all (`absolute`).

    Both are enforced by the server (OWASP Session Management). They are counted from the last
    activity and from the creation or log-in.
    """

    idle: float = 24 * 3600.0
    absolute: float = 30 * 24 * 3600.0

    def expiry(self, now: float, created_at: float, asked: float | None) -> float:
        """When a session active `now` expires; `asked` is its own idle lifetime, if it has one."""
        idle, absolute = now + (asked or self.idle), created_at + self.absolute
        return idle if idle < absolute else absolute

    def last_used(self, expires_at: float, created_at: float, asked: float | None) -> float:
        """When a session that expires so was last active: exact for a change, within 5 % of the
        idle lifetime for a request that only read (see `is_touch_due`), and too early by what the
        absolute lifetime has cut off."""
        return max(created_at, expires_at - (asked or self.idle))

    def is_touch_due(self, now: float, base: Snapshot, asked: float | None) -> bool:
        """Whether activity now should move the expiry: once in 5 % of the idle lifetime."""
        idle = asked or self.idle
        worthwhile = base.expires_at + idle / 20
        return now + idle > worthwhile and base.envelope.created_at + self.absolute > worthwhile


class Pending:
    """One request's changes on their way into the store: a delta, its base, and one token."""

    __slots__ = ("commit", "data", "marks")

    def __init__(self, data: Delta, marks: Delta, at: float, route: str) -> None:
        self.data = data
        self.marks = marks
        self.commit = Commit(at, os.urandom(8), route)

    def __bool__(self) -> bool:
        return bool(self.data or self.marks)

    def onto(self, base: Envelope, theirs: Envelope) -> tuple[Envelope, list[Conflict]]:
        """`theirs` with the changes that were made on `base`."""
        conflicts: list[Conflict] = []
        if theirs is base:
            data = apply(self.data, base.data)
        else:
            data, conflicts = merge(base.data, self.data, theirs.data)
        marks = theirs.marks
        if self.marks:
            marks = merge(base.marks, self.marks, theirs.marks).data
        commits = with_commit(theirs.history, self.commit, _TOKEN_SECONDS, _MAX_TOKENS)
        return Envelope(theirs.created_at, commits, marks, data), conflicts

    def alone(self) -> Envelope:
        """A new session of nothing but the changes."""
        empty = Envelope(self.commit.at, history([]), {}, {})
        return self.onto(empty, empty)[0]

    def is_in(self, envelope: Envelope) -> bool:
        """Whether these changes have been stored already."""
        return any(commit.token == self.commit.token for commit in envelope.commits)


class Committer:
    """Stores what sessions changed. Knows no session object, only snapshots and deltas.

    `announce` is told the key and envelope of a new record, to index it, before anybody is told its
    id: if it raises, the record is deleted again.
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
    ) -> None:
        self._store = store
        self._lifetimes = lifetimes
        self._events = events
        self._on_conflict = on_conflict
        self._max_size = max_size
        self._clock = clock
        self._announce = announce
        self._succession = Succession(store, clock)

    def create(self, pending: Pending, base: Snapshot | None = None) -> Snapshot:
        """Store a new session under a new id: `pending` alone, or onto a copy of `base`."""
        if base is None:
            return self._create(pending, pending.alone())
        envelope, _ = self._merged(base, pending, base)
        envelope.created_at = pending.commit.at
        return self._create(pending, envelope)

    def create_as(self, session_id: str, pending: Pending, expires_by: float) -> Snapshot:
        """Store a new session under this id, which others may know too. It is not announced.

        Raises SessionExists if there is one under this id already.
        """
        return self._created(pending, pending.alone(), session_id, expires_by)

    def recreate(self, base: Snapshot, pending: Pending, expires_by: float) -> Snapshot:
        """Put a new session in the place of `base`, under its id.

        Raises VersionConflict if that has changed, SessionGone if it was destroyed.
        """
        envelope = pending.alone()
        payload, expires_at = self._sealed(envelope, base.key)
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

        What is done in the background leaves the expiry as it is (OWASP Session Management).
        Raises SessionGone if it was destroyed, SessionSuperseded if it got another id by a log-in,
        SessionConflict under `on_conflict="raise"`.
        """
        theirs = base
        for attempt in range(_MAX_ATTEMPTS):
            envelope, conflicts = self._merged(base, pending, theirs)
            payload, expires_at = self._sealed(envelope, theirs.key)
            if activity == "background":
                expires_at = theirs.expires_at
            try:
                version = self._store.save(
                    theirs.key, payload, expires_at, expected_version=theirs.version
                )
            except VersionConflict as conflict:
                met, theirs = theirs, self._current(theirs, conflict.current)
                _require_certainty(conflict, met, theirs, pending)
                if not pending.is_in(theirs.envelope):
                    _yield_to_others(attempt)
                    continue
                done = theirs
            else:
                done = Snapshot(theirs.session_id, theirs.key, version, expires_at, envelope)
            if conflicts:
                self._report(base, theirs, pending, conflicts)
            return done
        raise _contended(base.key)

    def check(self, base: Snapshot, pending: Pending, theirs: Snapshot) -> None:
        """Report what would conflict if this were merged onto `theirs`. Raises SessionConflict."""
        _, conflicts = self._merged(base, pending, theirs)
        if conflicts:
            self._report(base, theirs, pending, conflicts)

    def cycle(self, base: Snapshot, pending: Pending, *, kind: Kind, created_at: float) -> Snapshot:
        """Move the session, with its changes, to a new id; the old one is dead at once.

        The new record is stored first: a crash between the steps leaves the old session as it was
        and a record that nobody has the id of. Then a tombstone replaces the old record by
        compare-and-set: whoever saved meanwhile is merged, whoever saves later meets the tombstone.

        Raises SessionGone if the session was destroyed, and SessionSuperseded if it got another id
        meanwhile, but for a log-in that meets a mere rotation: that goes on from there.
        """
        envelope, _ = self._merged(base, pending, base)
        envelope.created_at = created_at
        new = self._create(pending, envelope)
        try:
            return self._bury(base, pending, new, kind)
        except (SessionGone, SessionConflict, SessionTooLarge, CorruptRecord):
            self._store.delete(new.key)  # refused: nobody has its id
            raise

    def _bury(self, base: Snapshot, pending: Pending, new: Snapshot, kind: Kind) -> Snapshot:
        """Put a tombstone in the place of the old record, once all that it holds is in `new`."""
        theirs = base
        conflicts: list[Conflict] = []
        stone = tombstone(pending.commit, kind, new.key)
        expires_at = pending.commit.at + TOMBSTONE_SECONDS
        for _ in range(_MAX_ATTEMPTS):
            try:
                self._store.save(
                    theirs.key,
                    seal(stone, theirs.key),
                    expires_at,
                    expected_version=theirs.version,
                )
            except VersionConflict as conflict:
                if pending.is_in(open_sealed(conflict.current.payload, theirs.key)):
                    break  # ours: the reply was lost
                theirs = self._overtaker(theirs, conflict.current, kind)
                envelope, conflicts = self._merged(base, pending, theirs)
                envelope.created_at = new.envelope.created_at
                new = self._replace(new, envelope)
            else:
                break
        else:
            self._store.delete(new.key)
            raise _contended(base.key)
        if conflicts:
            self._report(base, theirs, pending, conflicts)
        return new

    def _overtaker(self, known: Snapshot, record: Record, kind: Kind) -> Snapshot:
        """What a new id meets in place of the session that it was for.

        Of two rotations, one is enough: the second would take the first one's cookie its worth.
        """
        found = self._succession.opened(known, record)
        if isinstance(found, Snapshot):
            return found
        if kind == "cycle":
            raise SessionSuperseded(found)
        return self._succession.heir(found)

    def _create(self, pending: Pending, envelope: Envelope) -> Snapshot:
        while True:
            session_id = new_id()
            try:
                snapshot = self._created(pending, envelope, session_id)
            except SessionExists:
                continue  # somebody else's: another id
            self._announce_or_delete(snapshot.key, envelope)
            return snapshot

    def _created(
        self,
        pending: Pending,
        envelope: Envelope,
        session_id: str,
        expires_by: float = math.inf,
    ) -> Snapshot:
        key = store_key(session_id)
        payload, expires_at = self._sealed(envelope, key)
        expires_at = min(expires_at, expires_by)
        try:
            self._store.create(key, payload, expires_at)
        except SessionExists:
            if not self._is_stored(pending, key):
                raise
        return Snapshot(session_id, key, 1, expires_at, envelope)

    def _announce_or_delete(self, key: str, envelope: Envelope) -> None:
        # Not before the record is there: whoever meets an entry without one takes it for dead and
        # removes it, and the session would never be found by its principal.
        try:
            self._announce(key, envelope)
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # then it expires: nobody has its id
                self._store.delete(key)
            raise

    def _is_stored(self, pending: Pending, key: str) -> bool:
        """Whether the record under `key` is what `pending` made of it, so that a reply was lost."""
        record = self._store.load(key)
        try:
            return record is not None and pending.is_in(open_sealed(record.payload, key))
        except (CorruptRecord, UnsupportedFormat):
            return False

    def _replace(self, snapshot: Snapshot, envelope: Envelope) -> Snapshot:
        """Save a record that nobody else knows of yet."""
        payload, expires_at = self._sealed(envelope, snapshot.key)
        try:
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=snapshot.version
            )
        except VersionConflict as conflict:  # only an own save whose reply was lost
            version = self._store.save(
                snapshot.key, payload, expires_at, expected_version=conflict.current.version
            )
        return replace(snapshot, version=version, expires_at=expires_at, envelope=envelope)

    def _merged(
        self, base: Snapshot, pending: Pending, theirs: Snapshot
    ) -> tuple[Envelope, list[Conflict]]:
        envelope, conflicts = pending.onto(base.envelope, theirs.envelope)
        if conflicts and self._on_conflict == "raise":
            self._report(base, theirs, pending, conflicts)
            raise SessionConflict(conflicts)
        return envelope, conflicts

    def _sealed(self, envelope: Envelope, key: str) -> tuple[bytes, float]:
        payload = seal(envelope, key)
        if len(payload) > self._max_size:
            raise SessionTooLarge(len(payload), self._max_size)
        asked = envelope.marks.get(LIFETIME)
        lifetime = None if asked is None else msgspec.msgpack.decode(asked, type=float)
        return payload, self._lifetimes.expiry(self._clock(), envelope.created_at, lifetime)

    def _current(self, known: Snapshot, record: Record) -> Snapshot:
        """The live session that a save meets; perhaps under another id, which is not known."""
        found = self._succession.opened(known, record)
        return self._succession.heir(found) if isinstance(found, Tombstone) else found

    def _report(
        self, base: Snapshot, theirs: Snapshot, pending: Pending, conflicts: list[Conflict]
    ) -> None:
        known = {commit.token for commit in base.envelope.commits} | {pending.commit.token}
        others = {c.route for c in theirs.envelope.commits if c.token not in known}
        for conflict in conflicts:
            self._events.emit(
                "conflict",
                short_key(base.key),
                path=texts.named(conflict.key),  # below it are names that a client may have chosen
                kind=conflict.kind,
                route=pending.commit.route,
                others=sorted(others),
            )


def _require_certainty(
    conflict: VersionConflict, met: Snapshot, theirs: Snapshot, pending: Pending
) -> None:
    """After a lost reply, our token is in the record if the save was done, unless so many others
    have saved since that it is no longer kept. Then nobody can tell: better to say so than to
    apply the changes twice. `met` is what the save was tried on, `theirs` what is there now."""
    others = conflict.current.version - met.version
    if theirs.key != met.key:
        others += theirs.version
    if (
        conflict.is_after_retry
        and not pending.is_in(theirs.envelope)
        and others > len(theirs.envelope.commits)
    ):
        raise StoreUnavailable(
            "a reply of the store was lost, and it cannot be told whether the change was stored",
            operation="save",
            key=short_key(met.key),
        )


def _contended(key: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"a session is changed by too many requests at once ({_MAX_ATTEMPTS} attempts): retry",
        operation="save",
        key=short_key(key),
        attempts=_MAX_ATTEMPTS,
    )


def _yield_to_others(attempt: int) -> None:
    """After several lost races wait a little, at random, so that everybody gets through.

    What is known of the record is old after a wait, and an attempt with it is lost to anybody who
    changes the session all the time. So only every second one waits: it finds out what is stored
    now, and the next follows at once, in less time than a whole request takes.
    """
    if attempt >= 5 and attempt % 2:
        time.sleep(random.uniform(0, min(attempt * attempt, 300) * 0.0001))  # noqa: S311 - no secret
