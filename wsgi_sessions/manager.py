"""SessionManager: sessions on one backend, opened, committed and destroyed. It knows no WSGI."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec.structs import replace

from wsgi_sessions.commit import ENDED, Activity, Committer, Lifetimes, OnConflict, Pending
from wsgi_sessions.draft import (
    KEEP_ALIVE,
    LIFETIME,
    PRINCIPAL,
    REFRESHED,
    Draft,
    Snapshot,
    principal_of,
)
from wsgi_sessions.errors import CorruptRecord, SessionGone, StoreUnavailable, UnsupportedFormat
from wsgi_sessions.events import Events
from wsgi_sessions.identity import short_key, store_key
from wsgi_sessions.merge import ABSENT
from wsgi_sessions.serialization import Envelope, decode, open_sealed
from wsgi_sessions.stores.base import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from wsgi_sessions.stores.base import Backend

DEFAULT_MAX_SIZE = 1024 * 1024
Result = Literal[
    "unchanged", "saved", "touched", "created", "cycled", "destroyed", "gone", "dropped"
]
Headers = Literal["open", "closed"]
Reader = Callable[[str], Record | None]
_MAX_LISTINGS = 10  # so that somebody who logs in all the time does not keep us for ever
_MARKS_WITH_COOKIE = (PRINCIPAL, LIFETIME)

_log = logging.getLogger("wsgi_sessions.manager")


class StoredSession(NamedTuple):
    """What a listing shows of a session: nothing that would let somebody use it.

    Times are seconds since the epoch; for `last_used_at` see `Lifetimes.last_used`.
    """

    key: str
    created_at: float
    expires_at: float
    last_used_at: float
    refreshed_at: float | None = None


class Beginning(NamedTuple):
    """What a session begins with, other than a request's changes."""

    data: Mapping[str, object]
    marks: Mapping[str, object]
    route: str


class SessionManager:
    """Loads, commits and destroys sessions on one backend.

    `principal_key`: an application's own key that holds the user (``user_id``): when it appears or
    changes, the session is bound and its id cycled as by `Session.login`; when it goes, the id is
    cycled too. `max_size`: of a stored session, in bytes. `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        lifetimes: Lifetimes | None = None,
        events: Events | None = None,
        on_conflict: OnConflict = "last-wins",
        principal_key: str | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend
        self.events = events or Events()
        self._lifetimes = lifetimes or Lifetimes()
        self._principal_key = principal_key
        self._clock = clock
        self._key_of = lru_cache(maxsize=1024)(store_key)
        self._committer = Committer(
            backend.sessions,
            self._lifetimes,
            self.events,
            on_conflict=on_conflict,
            max_size=max_size,
            clock=clock,
            announce=self._index,
        )

    # -- one session ---------------------------------------------------------------------------

    def load(self, session_id: str, reader: Reader | None = None) -> Snapshot | None:
        """The stored session with this id, or None. Raises StoreUnavailable.

        `reader` reads the record in place of the store's own `load`.
        """
        return self._load(session_id, self._key_of(session_id), reader)

    def find(self, key: str) -> Snapshot | None:
        """The stored session under this key, or None; its id is not known (and empty).

        Raises StoreUnavailable.
        """
        return self._load("", key)

    def reload(self, snapshot: Snapshot) -> Snapshot | None:
        """The same session as it is stored now, or None. Raises StoreUnavailable."""
        return self._load(snapshot.session_id, snapshot.key)

    def create(
        self, session_id: str, beginning: Beginning, *, expires_by: float = math.inf
    ) -> Snapshot:
        """Store a session under an id that the caller determined, and others may know too.

        It expires at `expires_by` (seconds since the epoch) at the latest, if nobody uses it. It is
        not indexed by its principal: see `announce`.

        Raises SessionExists if there is one already, StoreUnavailable, SessionTooLarge, and
        UnserializableValue.
        """
        return self._committer.create_as(session_id, self._begun(beginning), expires_by)

    def recreate(
        self, snapshot: Snapshot, beginning: Beginning, *, expires_by: float = math.inf
    ) -> Snapshot:
        """As `create`, in the place of a session, if that is still as it was when it was read.

        Raises VersionConflict or SessionGone if it is not, and what `create` raises.
        """
        return self._committer.recreate(snapshot, self._begun(beginning), expires_by)

    def announce(self, snapshot: Snapshot) -> None:
        """Let the session be found by its principal. Idempotent. Raises StoreUnavailable."""
        self._index(snapshot.key, snapshot.envelope)

    def _begun(self, beginning: Beginning) -> Pending:
        draft = Draft(None)
        for name, value in beginning.data.items():
            draft.data.set(name, value)
        for name, value in beginning.marks.items():
            draft.set_mark(name, value)
        self._follow_principal_key(draft, "closed")
        return self._pending(draft, beginning.route)

    def commit(
        self,
        draft: Draft,
        route: Callable[[], str],
        headers: Headers = "open",
        activity: Activity = "user",
    ) -> Result:
        """Store what a draft holds; it is then at the new snapshot, with nothing pending.

        With closed `headers` no cookie can be sent any more: changes that need one are dropped and
        reported. "background" is no activity of the user: neither lifetime moves.

        Raises StoreUnavailable, SessionConflict, SessionTooLarge, UnserializableValue: the stored
        session is then as it was.
        """
        destroyed = draft.is_flushed and self.destroy_doomed(draft)
        data = draft.data.delta()
        if self._principal_key is not None and self._principal_key in data:
            self._follow_principal_key(draft, headers)
            data = draft.data.delta()
        marks = draft.marks_delta()
        if data or marks or draft.cycling:
            pending = Pending(data, marks, at=self._clock(), route=route())
            return self._commit(draft, pending, headers, activity)
        if draft.snapshot is not None and activity == "user":
            return self._touch(draft, draft.snapshot)
        return "destroyed" if destroyed else "unchanged"

    def _pending(self, draft: Draft, route: str) -> Pending:
        return Pending(draft.data.delta(), draft.marks_delta(), at=self._clock(), route=route)

    def rebase(self, draft: Draft, fresh: Snapshot, route: str) -> None:
        """Put a draft's pending changes onto a fresher snapshot. Raises SessionConflict."""
        pending = self._pending(draft, route)
        if draft.snapshot is not None and pending:
            self._committer.check(draft.snapshot, pending, fresh)
        draft.rebase(fresh)

    def commit_data(self, draft: Draft, route: str, activity: Activity = "user") -> None:
        """Store now what needs no cookie, as one change; the rest stays pending for `commit`.

        That is the data and the marks, but for a new id, principal and lifetime. What a log-out
        asked to destroy is dead at once. Raises SessionGone, and what `commit` raises.
        """
        for doomed in draft.doomed:
            self.backend.sessions.delete(doomed.key)
        pending = self._pending(draft, route)
        if self._principal_key is not None and self._principal_key in pending.data:
            if self._is_handed_over(draft):
                return  # to a session of its own, which needs a cookie
            self._follow_principal_key(draft, "closed")
        for name in _MARKS_WITH_COOKIE:
            pending.marks.pop(name, None)
        base = draft.snapshot
        if base is not None and pending:
            saved = self._committer.save(base, pending, activity)
            draft.settle(saved)
            self._schedule(base, saved)

    def destroy_doomed(self, draft: Draft) -> bool:
        """Destroy what the draft's log-out asked to. Done for failed requests too.

        Whether there was a log-out; of a session that was gone already, too.
        """
        while draft.doomed:
            snapshot = draft.doomed[-1]
            self.backend.sessions.delete(snapshot.key)
            self._forget(snapshot)
            self.events.emit("destroyed", short_key(snapshot.key))
            draft.doomed.pop()
        flushed, draft.is_flushed = draft.is_flushed, False
        return flushed

    def set_aside(self, snapshot: Snapshot, reason: str) -> None:
        """Put a record out of the way in which a value turned out to be damaged."""
        self._set_aside(snapshot.key, snapshot.version, reason)

    def hold(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """The mutex of `Session.exclusive`. Raises LockTimeout."""
        return self.backend.locks.hold(key, timeout)

    def _commit(
        self, draft: Draft, pending: Pending, headers: Headers, activity: Activity
    ) -> Result:
        base, route = draft.snapshot, pending.commit.route
        if headers == "closed" and (draft.cycling or base is None):
            self.events.emit("dropped", reason="no cookie can be sent any more", route=route)
            draft.adopt(base)
            return "dropped"
        if base is None:
            return self._create(draft, pending)
        try:
            if draft.cycling:
                return self._cycle(draft, base, pending)
            saved = self._committer.save(base, pending, activity)
        except SessionGone:
            self.events.emit("gone", short_key(base.key), route=route)
            draft.adopt(None)
            return "gone"
        draft.advance(saved)
        self._schedule(base, saved)
        if activity == "user" and self._is_touch_due(base, draft.mark(LIFETIME)):
            self._index_again(saved)
        return "saved"

    def _create(self, draft: Draft, pending: Pending) -> Result:
        snapshot = self._committer.create(pending)
        draft.advance(snapshot)
        self._schedule(None, snapshot)
        self.events.emit("created", short_key(snapshot.key))
        return "created"

    def _cycle(self, draft: Draft, base: Snapshot, pending: Pending) -> Result:
        logged_in = PRINCIPAL in pending.marks and draft.mark(PRINCIPAL) is not None
        created_at = pending.commit.at if logged_in else base.envelope.created_at
        snapshot = self._committer.cycle(base, pending, created_at=created_at)
        self._forget(base)
        draft.advance(snapshot)
        self._schedule(base, snapshot)
        self.events.emit("cycled", short_key(base.key), to=short_key(snapshot.key))
        return "cycled"

    def _touch(self, draft: Draft, base: Snapshot) -> Result:
        asked = draft.mark(LIFETIME)
        if not self._is_touch_due(base, asked):
            return "unchanged"
        expires_at = self._lifetimes.expiry(self._clock(), base.envelope.created_at, asked)
        self.backend.sessions.touch(base.key, expires_at)
        draft.snapshot = replace(base, expires_at=expires_at)
        self._index_again(base)
        return "touched"

    def _is_touch_due(self, base: Snapshot, asked: float | None) -> bool:
        now, created_at = self._clock(), base.envelope.created_at
        return self._lifetimes.is_touch_due(now, base.expires_at, created_at, asked)

    def _follow_principal_key(self, draft: Draft, headers: Headers) -> None:
        """Bind, and cycle the id, when the application's own principal key has changed.

        From one principal to another, only what this request has set goes along, as by
        `Session.login`: the rest is the first one's.
        """
        before, principal = draft.mark(PRINCIPAL), self._named_principal(draft)
        if principal == before:
            return
        if headers == "open" and self._is_handed_over(draft):
            draft.begin_anew()
            self.destroy_doomed(draft)
        draft.set_mark(PRINCIPAL, principal)
        draft.cycling = draft.snapshot is not None

    def _is_handed_over(self, draft: Draft) -> bool:
        """Whether the application's own principal key went from one principal to another."""
        before, principal = draft.mark(PRINCIPAL), self._named_principal(draft)
        return None not in (before, principal) and principal != before

    def _named_principal(self, draft: Draft) -> str | int | None:
        """What the application's own principal key holds, as a principal."""
        value = ABSENT if self._principal_key is None else draft.data.peek(self._principal_key)
        if value is ABSENT or value is None:
            return None
        return value if type(value) is int else str(value)

    # -- principals ----------------------------------------------------------------------------

    def sessions_of(self, principal: str | int) -> list[StoredSession]:
        """The live sessions of a principal, oldest first. One look-up, and a load for each.

        Index entries without a session are removed; one that was lost is put back by the session's
        next use, within 5 % of its idle lifetime. Raises StoreUnavailable.
        """
        found = []
        for key in self.backend.index.keys_of(str(principal)):
            record = self.backend.sessions.load(key)
            envelope = None if record is None else self._open(key, record)
            if record is None or envelope is None or not _is_bound(envelope, principal):
                self.backend.index.remove(str(principal), key)
                continue
            found.append(self._listed(key, record, envelope))
        return sorted(found, key=lambda session: session.created_at)

    def destroy(self, key: str) -> None:
        """End the session with this store key, whoever uses it now. Idempotent.

        Raises StoreUnavailable.
        """
        try:
            principal = self.principal_of(key)
        except (UnsupportedFormat, CorruptRecord):
            principal = None  # whatever it is, it ends; its entry is removed when it is met
        self.backend.sessions.delete(key)
        self.events.emit("destroyed", short_key(key))
        if principal is not None:
            self.backend.index.remove(principal, key)

    def principal_of(self, key: str) -> str | None:
        """Whom the session with this store key is bound to, as text; None also if there is none.

        Raises StoreUnavailable, and CorruptRecord if that cannot be told.
        """
        snapshot = self.find(key)
        return None if snapshot is None else principal_of(snapshot.envelope)

    def destroy_sessions_of(self, principal: str | int, *, keep: str | None = None) -> int:
        """End all sessions of a principal, but the one with the store key `keep`. How many.

        One that gets another id meanwhile ends too. Not promised: the end of those that begin
        meanwhile by a log-in; lock the account first. Raises StoreUnavailable.
        """
        count = 0
        for _ in range(_MAX_LISTINGS):
            keys = [s.key for s in self.sessions_of(principal) if s.key != keep]
            if not keys:
                break
            for key in keys:
                self.backend.sessions.delete(key)
                self.backend.index.remove(str(principal), key)
                self.events.emit("destroyed", short_key(key))
            count += len(keys)
        return count

    # -- inside --------------------------------------------------------------------------------

    def _load(self, session_id: str, key: str, reader: Reader | None = None) -> Snapshot | None:
        record = (reader or self.backend.sessions.load)(key)
        if record is None:
            return None
        envelope = self._open(key, record)
        if envelope is None:
            return None
        return Snapshot(session_id, key, record.version, record.expires_at, envelope)

    def _listed(self, key: str, record: Record, envelope: Envelope) -> StoredSession:
        created_at, expires_at = envelope.created_at, record.expires_at
        asked = _decoded(envelope, LIFETIME)
        last_used_at = self._lifetimes.last_used(expires_at, created_at, asked)
        refreshed_at = _decoded(envelope, REFRESHED)
        return StoredSession(key, created_at, expires_at, last_used_at, refreshed_at)

    def _schedule(self, before: Snapshot | None, after: Snapshot) -> None:
        """Have a session refreshed that is to be kept alive from now on, or has a new key.

        The commit is done, so a fault is only logged; the session is then not refreshed before
        `Session.keep_alive` is called again, or its id changes.
        """
        was = before is not None and KEEP_ALIVE in before.envelope.marks
        is_now = KEEP_ALIVE in after.envelope.marks
        queue, old_key = self.backend.refreshes, None if before is None else before.key
        if queue is None or (was == is_now and (not was or old_key == after.key)):
            return
        try:
            if is_now:
                queue.schedule(after.key, self._clock())
            if old_key is not None and (old_key != after.key or not is_now):
                queue.remove(old_key)
        except StoreUnavailable as error:
            _log.warning("session %s is not scheduled: %s", short_key(after.key), error)

    def _open(self, key: str, record: Record) -> Envelope | None:
        try:
            envelope = open_sealed(record.payload, key)
        except CorruptRecord as error:
            self._set_aside(key, record.version, error.reason)
            return None
        if ENDED in envelope.marks:
            return None
        if envelope.created_at + self._lifetimes.absolute <= self._clock():
            self.events.emit("expired", short_key(key), lifetime="absolute")
            self.backend.sessions.delete(key)
            return None
        return envelope

    def _set_aside(self, key: str, version: int, reason: str) -> None:
        self.events.emit("corrupt", short_key(key), reason=reason)
        if self.backend.quarantine is not None:
            self.backend.quarantine.set_aside(key, version, reason)

    def _index(self, key: str, envelope: Envelope) -> None:
        principal = principal_of(envelope)
        if principal is not None:
            # Until the last moment at which the session can live: touching needs no index call.
            until = envelope.created_at + self._lifetimes.absolute
            self.backend.index.add(principal, key, until)

    def _index_again(self, snapshot: Snapshot) -> None:
        """Put the entry of a session in use back, should it have been lost; once in 5 % of the idle
        lifetime. It serves no request, so a fault is only logged."""
        try:
            self._index(snapshot.key, snapshot.envelope)
        except StoreUnavailable as error:
            _log.warning("session %s is not indexed anew: %s", short_key(snapshot.key), error)

    def _forget(self, snapshot: Snapshot) -> None:
        """Remove what is left of a dead record. It is dead already, so a fault is only logged."""
        try:
            self.backend.sessions.delete(snapshot.key)
            principal = principal_of(snapshot.envelope)
            if principal is not None:
                self.backend.index.remove(principal, snapshot.key)
        except StoreUnavailable as error:
            _log.warning("leftovers of a dead session stay until they expire: %s", error)


def _decoded(envelope: Envelope, name: str) -> Any:
    """A mark, or None."""
    mark = envelope.marks.get(name)
    return None if mark is None else decode(bytes(mark))


def _is_bound(envelope: Envelope, principal: str | int) -> bool:
    return principal_of(envelope) == str(principal)
