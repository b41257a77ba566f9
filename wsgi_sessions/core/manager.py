"""SessionManager: sessions on one backend, opened, committed and destroyed. No WSGI."""

from __future__ import annotations

import math
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.loop import Activity, Committer, Lifetimes, OnConflict, Pending
from wsgi_sessions.core.commit.prolonging import Prolonger
from wsgi_sessions.core.commit.refreshing import RefreshSchedule
from wsgi_sessions.core.commit.results import NO_COOKIE, STALE
from wsgi_sessions.core.commit.tokens import CommitTokens
from wsgi_sessions.core.draft import APPLICATION, EARLY, LIFETIME, PRINCIPAL, Draft, Snapshot
from wsgi_sessions.core.endings.ender import Ender
from wsgi_sessions.core.endings.report import EndingReport, why_replaced
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.limits.census import Census
from wsgi_sessions.core.limits.waiters import MOST_WAITERS, BoundedLocks
from wsgi_sessions.core.loading import Loader
from wsgi_sessions.core.principals import Principals
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import SessionGone, SessionSuperseded
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import WhenConflicting
    from wsgi_sessions.core.commit.new_session import NewSession
    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.draft import HeadersState
    from wsgi_sessions.core.endings.traces import Traces
    from wsgi_sessions.core.merge.delta import Delta
    from wsgi_sessions.core.merge.rules import MergeRules
    from wsgi_sessions.core.record.tombstones import Tombstone
    from wsgi_sessions.mutex import Held

DEFAULT_MAX_SIZE = 1024 * 1024
DEFAULT_WAIT = 5.0


class SessionManager:
    """Loads, commits and destroys sessions on one backend.

    `sessions_of` and `destroy_sessions_of` are those of `Principals`.

    Args:
        identity: the application's own keys that hold its user and rights.
        principal_key: short for `IdentityRules` with that key alone.
        merge: what concurrent changes of the application's values mean.
        max_size: the most bytes of a stored session.
        wait: seconds that a request waits for the block of another, by default.
        waiters: the most requests of this process that wait for one session.
        max_sessions: at so many sessions, no anonymous visitor gets one (see `Census`).
        traces: keeps why sessions ended; None: not kept.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        lifetimes: Lifetimes | None = None,
        events: Events | None = None,
        on_conflict: OnConflict = "last-wins",
        merge: MergeRules | None = None,
        principal_key: str | None = None,
        identity: IdentityRules | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        wait: float = DEFAULT_WAIT,
        waiters: int = MOST_WAITERS,
        max_sessions: int | None = None,
        traces: Traces | None = None,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.backend = backend
        self.lifetimes, self.events = lifetimes or Lifetimes(), events or Events()
        self.locks = BoundedLocks(backend.locks, waiters, self.events)
        self.identity, self._wait = identity or IdentityRules(principal_key), wait
        self._clock, self._draw = clock, CommitTokens().draw
        self.endings = EndingReport(self.events, self.lifetimes, backend, traces, clock)
        self.loader = Loader(backend, self.lifetimes, self.events, self.endings, clock)
        self._prolonger = Prolonger(backend.sessions)
        self._schedule = RefreshSchedule(backend.refreshes, clock).follow
        self._census = None if max_sessions is None else Census(backend.iteration, max_sessions)
        self.principals = Principals(backend, self.loader, self.lifetimes, self.endings, clock)
        self.sessions_of = self.principals.sessions_of
        self.destroy_sessions_of = self.principals.destroy_sessions_of
        about = self.loader, self.principals, self._census, self.endings
        self._ender = Ender(backend.sessions, *about)
        self._committer_for = self._committers(on_conflict, merge, max_size)
        self._committer = self._committer_for()

    def _committers(
        self, on_conflict: OnConflict, rules: MergeRules | None, max_size: int
    ) -> Callable[..., Committer]:
        return partial(
            Committer,
            self.backend.sessions,
            self.lifetimes,
            self.events,
            on_conflict=on_conflict,
            rules=rules,
            max_size=max_size,
            clock=self._clock,
            announce=self.principals.add,
            envelopes=self.loader.envelopes,
        )

    def asking(self, when_conflicting: WhenConflicting) -> SessionManager:
        """Return a manager of the same sessions that calls this with conflicts: see `Committer`."""
        asking = copy(self)
        asking._committer = self._committer_for(when_conflicting=when_conflicting)  # noqa: SLF001  # of this package
        return asking

    def create(self, session_id: str, new: NewSession, *, expires_by: float = math.inf) -> Snapshot:
        """Store a session under an id that the caller determined, and that others may know too.

        It expires at `expires_by` (seconds since the epoch) at the latest, unless it is used. It is
        not indexed by its principal: see `Principals.add`. Raises SessionExists, StoreUnavailable,
        SessionTooLarge and UnserializableValue.
        """
        return self._committer.create_as(session_id, self._begun(new), expires_by)

    def recreate(
        self, snapshot: Snapshot, new: NewSession, *, expires_by: float = math.inf
    ) -> Snapshot:
        """Like `create`, in place of an unchanged session. Raises VersionConflict, SessionGone
        too."""
        return self._committer.recreate(snapshot, self._begun(new), expires_by)

    def _begun(self, new: NewSession) -> Pending:
        draft = new.draft()
        self.identity.bind(draft)
        pending = self._pending(draft, new.route)
        pending.begin_for(self.backend.application)
        return pending

    def commit(
        self,
        draft: Draft,
        route: Callable[[], str],
        headers: HeadersState = "open",
        activity: Activity = "user",
    ) -> Result:
        """Store a draft's changes; the draft is then at the new snapshot, with nothing pending.

        With closed `headers` no cookie can be sent any more: changes that need one are dropped and
        reported. A "background" commit is not activity of the user: neither lifetime moves.

        If another request gave the session a new id, the changes are merged into it after a
        rotation. After a log-in, or another change of rights, they are dropped ("superseded"),
        except a log-in of this request: it gets a session of its own.

        Raises StoreUnavailable, SessionConflict, SessionTooLarge, UnserializableValue: the stored
        session is then as it was. Without changes, it raises nothing: if the store takes no writes,
        the session is not prolonged, and the request is served.
        """
        keys = self.identity.keys
        if keys and draft.data.may_differ(keys):
            self.identity.follow(draft, headers, activity)
        if draft.withheld is not None and draft.logs_in:
            draft.give_up_withheld()
        destroyed = draft.is_flushed and self.destroy_doomed(draft, route)
        data, metadata = draft.data.delta(), draft.metadata_delta()
        if data or draft.cycling or (metadata and _may_store(draft, metadata)):
            token = None if draft.repeats is None else draft.repeats.token
            at, fence, planted = self._clock(), draft.fence, draft.planted
            # Not by name: that costs a dictionary.
            pending = Pending(data, metadata, at, route(), fence, token, planted, self._draw)
            return self._commit(draft, pending, headers, activity)
        if draft.snapshot is not None and activity == "user":
            return self._touch(draft, draft.snapshot)
        return "destroyed" if destroyed else "unchanged"

    def _pending(self, draft: Draft, route: str) -> Pending:
        data, metadata = draft.data.delta(), draft.metadata_delta()
        token = None if draft.repeats is None else draft.repeats.token
        return Pending(data, metadata, self._clock(), route, draft.fence, token)

    def rebase(self, draft: Draft, fresh: Snapshot, route: str) -> None:
        """Put a draft's pending changes onto a fresher snapshot. Raises SessionConflict."""
        pending = self._pending(draft, route)
        if draft.snapshot is not None and pending:
            self._committer.check(draft.snapshot, pending, fresh)
        draft.rebase(fresh, self._committer.rules)

    def commit_data(self, draft: Draft, route: str, activity: Activity = "user") -> None:
        """Store now what needs no cookie, as one change; the rest stays pending for `commit`.

        This is the data and the metadata, except the lifetime; see `IdentityRules.changed` for what
        has to wait. Raises SessionGone, and as `commit`.
        """
        base, pending = draft.snapshot, self._pending(draft, route)
        pending.metadata.pop(LIFETIME, None)  # needs a cookie
        if base is not None and pending:
            saved = self._committer.save(base, pending, activity)
            draft.settle(saved)
            self._schedule(base, saved)

    def drop(self, reason: str, draft: Draft, base: Snapshot | None, route: str) -> None:
        """Forget the changes of a draft, and report it."""
        self.events.emit("dropped", reason=reason, route=route)
        draft.adopt(base)

    def destroy_doomed(self, draft: Draft, route: Callable[[], str]) -> bool:
        """Destroy a session that logged out, even if the request failed; return whether it did.

        It ends under a new id, too; but a log-out that is the first step of a log-in spares a
        faster log-in. True also for a session that was gone already.
        """
        self.destroy_at_once(draft, route)
        flushed, draft.is_flushed = draft.is_flushed, False
        return flushed

    def destroy_at_once(self, draft: Draft, route: Callable[[], str]) -> None:
        """Like `destroy_doomed`, during the request: its log-out is still to be answered."""
        if draft.doomed:
            self._ender.end_doomed(draft, route())

    def now(self) -> float:
        """Return the time by which sessions expire, in seconds since the epoch."""
        return self._clock()

    def hold(self, key: str, timeout: float | None = None) -> AbstractContextManager[Held]:
        """Return the mutex of `Session.exclusive`. Raises LockTimeout, TooManyWaiting."""
        return self.locks.hold(key, self._wait if timeout is None else timeout)

    def _commit(
        self, draft: Draft, pending: Pending, headers: HeadersState, activity: Activity
    ) -> Result:
        base, route = draft.snapshot, pending.commit.route
        if draft.withheld is not None or (headers == "closed" and (draft.cycling or base is None)):
            self.drop(STALE if draft.withheld else NO_COOKIE, draft, base, route)
            return "dropped"
        if base is None:
            return self._begin(draft, pending)
        try:
            if draft.cycling:
                return self._cycle(draft, base, pending)
            saved = self._committer.save(base, pending, activity)
        except SessionSuperseded as error:
            return self._overtaken(draft, base, pending, error.tombstone)
        except SessionGone:
            self.events.emit("gone", short_key(base.key), route=route)
            draft.adopt(None)
            return "gone"
        draft.advance(saved)
        if saved.envelope.metadata is not base.envelope.metadata:  # an unchanged one is passed on
            self._schedule(base, saved)
        if activity == "user" and PRINCIPAL in saved.envelope.metadata:
            asked = draft.get_metadata(LIFETIME)
            if self.lifetimes.is_touch_due(pending.commit.at, base, asked):
                self.principals.add_again(saved)
        return "saved"

    def _begin(self, draft: Draft, pending: Pending) -> Result:
        """Commit a draft of which nothing is stored yet."""
        barrier = draft.out_of_reach
        if barrier is not None and not (barrier.unless_asked and draft.cycling):
            self.drop(barrier.reason, draft, None, pending.commit.route)
            return "dropped"
        if draft.superseded is None or draft.logs_in:
            return self._create(draft, pending)
        return self._supersede(draft, draft.superseded, pending.commit.route)

    def _overtaken(
        self, draft: Draft, base: Snapshot, pending: Pending, tombstone: Tombstone
    ) -> Result:
        """Go on after another request gave the session a new id before this commit."""
        if draft.cycling == "cycle" and tombstone.kind == "cycle":
            draft.cycling = None  # one new id is enough
            return self._commit(draft, pending, "open", "user")
        if draft.logs_in:
            return self._create(draft, pending, base)
        if PRINCIPAL in pending.metadata and draft.get_metadata(PRINCIPAL) is None:
            draft.adopt(None)
            self._ender.end(tombstone, Cause("logged-out", route=pending.commit.route))
            return "destroyed"
        return self._supersede(draft, tombstone, pending.commit.route)

    def _supersede(self, draft: Draft, tombstone: Tombstone, route: str) -> Result:
        self.events.emit("superseded", short_key(tombstone.key), route=route)
        draft.adopt(None)
        draft.superseded = tombstone
        return "superseded"

    def _create(self, draft: Draft, pending: Pending, base: Snapshot | None = None) -> Result:
        if self._census is not None and not draft.logs_in:
            new = pending.alone()
            if self.lifetimes.anonymous.hold_for(new.metadata, new.data):
                self._census.require_room()
        pending.begin_for(self.backend.application)
        snapshot = self._committer.create(pending, base)
        draft.advance(snapshot)
        self._schedule(None, snapshot)
        self.events.emit("created", short_key(snapshot.key))
        if self._census is not None:
            self._census.note(1)
        return "created"

    def _cycle(self, draft: Draft, base: Snapshot, pending: Pending) -> Result:
        binds = PRINCIPAL in pending.metadata and draft.get_metadata(PRINCIPAL) is not None
        created_at = pending.commit.at if binds or draft.logs_in else base.envelope.created_at
        if APPLICATION not in base.envelope.metadata:
            pending.begin_for(self.backend.application)
        snapshot = self._committer.cycle(
            base,
            pending,
            kind="cycle" if draft.cycling == "cycle" else "login",
            created_at=created_at,
        )
        self.principals.unlist(base)
        draft.advance(snapshot)
        self._schedule(base, snapshot)
        self.events.emit("cycled", short_key(base.key), to=short_key(snapshot.key))
        cause = Cause(why_replaced(base, snapshot), route=pending.commit.route)
        self.endings.note(base.key, cause, base.envelope, successor=snapshot.key)
        return "cycled"

    def _touch(self, draft: Draft, base: Snapshot) -> Result:
        asked, now = self.lifetimes.asked(base.envelope), self._clock()
        if not self.lifetimes.is_touch_due(now, base, asked):
            return "unchanged"
        expires_at = self.lifetimes.expiry(now, base.envelope.created_at, asked)
        if not self._prolonger.prolong(base, now, expires_at):
            return "unchanged"
        draft.snapshot = replace(base, expires_at=expires_at)
        self.principals.add_again(base)
        return "touched"

    def destroy(self, key: str, *, by: str = "destroy()") -> None:
        """End the session with this store key, also under an id of the last minute. Idempotent.

        `by`: the caller, for the trace of the end (`EndTrace`). Raises StoreUnavailable.
        """
        self._ender.end_at(key, Cause("revoked", by))


def _may_store(draft: Draft, metadata: Delta) -> bool:
    """Return whether to store metadata alone: it begins a session only for a user or on purpose."""
    return draft.snapshot is not None or PRINCIPAL in metadata or EARLY in metadata
