"""SessionManager: sessions on one backend, opened, committed and destroyed. It knows no WSGI."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.commit import Activity, Committer, Lifetimes, OnConflict, Pending
from wsgi_sessions.draft import KEEP_ALIVE, LIFETIME, PRINCIPAL, Draft, Snapshot
from wsgi_sessions.errors import SessionGone, SessionSuperseded, StoreUnavailable
from wsgi_sessions.events import Events
from wsgi_sessions.identity import short_key
from wsgi_sessions.identity_rules import IdentityRules
from wsgi_sessions.loading import Loader
from wsgi_sessions.principals import Principals
from wsgi_sessions.succession import Succession
from wsgi_sessions.waiters import MOST_WAITERS, BoundedLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from wsgi_sessions.draft import Headers
    from wsgi_sessions.principals import StoredSession
    from wsgi_sessions.stores.base import Backend
    from wsgi_sessions.tombstones import Tombstone

DEFAULT_MAX_SIZE = 1024 * 1024
DEFAULT_WAIT = 5.0
Result = Literal[
    "unchanged",
    "saved",
    "touched",
    "created",
    "cycled",
    "destroyed",
    "gone",
    "superseded",
    "dropped",
]
NO_COOKIE = "the response can bring no cookie, or not any more"

_log = texts.log("wsgi_sessions.manager")


@texts.shows("route")
class Beginning(NamedTuple):
    """What a session begins with, other than a request's changes."""

    data: Mapping[str, object]
    marks: Mapping[str, object]
    route: str


class SessionManager:
    """Loads, commits and destroys sessions on one backend.

    `identity`: the application's own keys that hold its user and rights; `principal_key` is short
    for rules with that one alone. `max_size`: of a stored session, in bytes. `wait`: how many
    seconds a request waits for a session that another one holds, if it does not say itself;
    `waiters`: how many of this process may wait for one session at a time. `clock`: seconds since
    the epoch.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        lifetimes: Lifetimes | None = None,
        events: Events | None = None,
        on_conflict: OnConflict = "last-wins",
        principal_key: str | None = None,
        identity: IdentityRules | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        wait: float = DEFAULT_WAIT,
        waiters: int = MOST_WAITERS,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.backend = backend
        self._locks = BoundedLocks(backend.locks, waiters)
        self._wait = wait
        self.events = events or Events()
        self._lifetimes = lifetimes or Lifetimes()
        self.identity = identity or IdentityRules(principal_key)
        self._clock = clock
        self.loader = Loader(backend, self._lifetimes, self.events, clock)
        self._succession = Succession(backend.sessions, clock)
        self.principals = Principals(backend, self.loader, self._lifetimes, self.events)
        self._committer = Committer(
            backend.sessions,
            self._lifetimes,
            self.events,
            on_conflict=on_conflict,
            max_size=max_size,
            clock=clock,
            announce=self.principals.add,
        )

    # -- one session ---------------------------------------------------------------------------

    def create(
        self, session_id: str, beginning: Beginning, *, expires_by: float = math.inf
    ) -> Snapshot:
        """Store a session under an id that the caller determined, and others may know too.

        It expires at `expires_by` (seconds since the epoch) at the latest, if nobody uses it. It is
        not indexed by its principal: see `Principals.add`.

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

    def _begun(self, beginning: Beginning) -> Pending:
        draft = Draft(None)
        for name, value in beginning.data.items():
            draft.data.set(name, value)
        for name, value in beginning.marks.items():
            draft.set_mark(name, value)
        self.identity.bind(draft)
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

        A request whose session got another id meanwhile is merged into that, if it was a rotation.
        If it was a log-in, or any other change of rights, then what the request changed is dropped
        ("superseded"), but for a log-in of its own: that gets a session of its own.

        Raises StoreUnavailable, SessionConflict, SessionTooLarge, UnserializableValue: the stored
        session is then as it was.
        """
        if self.identity.keys and draft.data.may_differ(self.identity.keys):
            self.identity.follow(draft, headers, activity)
        destroyed = draft.is_flushed and self.destroy_doomed(draft)
        data = draft.data.delta()
        marks = draft.marks_delta()
        if data or marks or draft.cycling:
            pending = Pending(data, marks, self._clock(), route())
            return self._commit(draft, pending, headers, activity)
        if draft.snapshot is not None and activity == "user":
            return self._touch(draft, draft.snapshot)
        return "destroyed" if destroyed else "unchanged"

    def _pending(self, draft: Draft, route: str) -> Pending:
        return Pending(draft.data.delta(), draft.marks_delta(), self._clock(), route)

    def rebase(self, draft: Draft, fresh: Snapshot, route: str) -> None:
        """Put a draft's pending changes onto a fresher snapshot. Raises SessionConflict."""
        pending = self._pending(draft, route)
        if draft.snapshot is not None and pending:
            self._committer.check(draft.snapshot, pending, fresh)
        draft.rebase(fresh)

    def commit_data(self, draft: Draft, route: str, activity: Activity = "user") -> None:
        """Store now what needs no cookie, as one change; the rest stays pending for `commit`.

        That is the data and the marks, but for the lifetime; see `IdentityRules.changed` for what
        has to wait. Raises SessionGone, and what `commit` raises.
        """
        base, pending = draft.snapshot, self._pending(draft, route)
        pending.marks.pop(LIFETIME, None)  # needs a cookie
        if base is not None and pending:
            saved = self._committer.save(base, pending, activity)
            draft.settle(saved)
            self._schedule(base, saved)

    def drop(self, reason: str, draft: Draft, base: Snapshot | None, route: str) -> None:
        """Forget what a draft has changed, and say so."""
        self.events.emit("dropped", reason=reason, route=route)
        draft.adopt(base)

    def destroy_doomed(self, draft: Draft) -> bool:
        """Destroy what the draft's log-out asked to. Done for failed requests too.

        A session that got another id meanwhile ends all the same; but a log-out that is the first
        step of a log-in spares another log-in that was faster. Whether there was a log-out; of a
        session that was gone already, too.
        """
        self.destroy_at_once(draft)
        flushed, draft.is_flushed = draft.is_flushed, False
        return flushed

    def destroy_at_once(self, draft: Draft) -> None:
        """The same, while the request goes on: its log-out is still to be answered."""
        logs_in = _logs_in(draft) or draft.mark(PRINCIPAL) is not None
        while draft.doomed:
            self._end(draft.doomed[-1], beyond_logins=not logs_in)
            draft.doomed.pop()

    def _end(self, doomed: Snapshot | Tombstone, *, beyond_logins: bool = True) -> None:
        for ended in self._succession.end(doomed, beyond_logins=beyond_logins):
            self.principals.unlist(ended)
            self.events.emit("destroyed", short_key(ended.key))

    def hold(self, key: str, timeout: float | None = None) -> AbstractContextManager[None]:
        """The mutex of `Session.exclusive`. Raises LockTimeout, and TooManyWaiting at once."""
        return self._locks.hold(key, self._wait if timeout is None else timeout)

    def _commit(
        self, draft: Draft, pending: Pending, headers: Headers, activity: Activity
    ) -> Result:
        base, route = draft.snapshot, pending.commit.route
        if headers == "closed" and (draft.cycling or base is None):
            self.drop(NO_COOKIE, draft, base, route)
            return "dropped"
        if base is None:
            if draft.superseded is None or _logs_in(draft):
                return self._create(draft, pending)
            return self._supersede(draft, draft.superseded, route)
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
        self._schedule(base, saved)
        if activity == "user" and PRINCIPAL in saved.envelope.marks:
            asked = draft.mark(LIFETIME)
            if self._lifetimes.is_touch_due(pending.commit.at, base, asked):
                self.principals.add_again(saved)
        return "saved"

    def _overtaken(
        self, draft: Draft, base: Snapshot, pending: Pending, tombstone: Tombstone
    ) -> Result:
        """The session got another id before this request's changes were stored."""
        if draft.cycling == "cycle" and tombstone.kind == "cycle":
            draft.cycling = None  # one new id is enough
            return self._commit(draft, pending, "open", "user")
        if _logs_in(draft):
            return self._create(draft, pending, base)
        if PRINCIPAL in pending.marks and draft.mark(PRINCIPAL) is None:
            draft.adopt(None)
            self._end(tombstone)
            return "destroyed"
        return self._supersede(draft, tombstone, pending.commit.route)

    def _supersede(self, draft: Draft, tombstone: Tombstone, route: str) -> Result:
        self.events.emit("superseded", short_key(tombstone.key), route=route)
        draft.adopt(None)
        return "superseded"

    def _create(self, draft: Draft, pending: Pending, base: Snapshot | None = None) -> Result:
        snapshot = self._committer.create(pending, base)
        draft.advance(snapshot)
        self._schedule(None, snapshot)
        self.events.emit("created", short_key(snapshot.key))
        return "created"

    def _cycle(self, draft: Draft, base: Snapshot, pending: Pending) -> Result:
        created_at = pending.commit.at if _logs_in(draft) else base.envelope.created_at
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
        return "cycled"

    def _touch(self, draft: Draft, base: Snapshot) -> Result:
        asked = draft.mark(LIFETIME)
        now = self._clock()
        if not self._lifetimes.is_touch_due(now, base, asked):
            return "unchanged"
        expires_at = self._lifetimes.expiry(now, base.envelope.created_at, asked)
        self.backend.sessions.touch(base.key, expires_at)
        draft.snapshot = replace(base, expires_at=expires_at)
        self.principals.add_again(base)
        return "touched"

    # -- principals ----------------------------------------------------------------------------

    def sessions_of(self, principal: str | int) -> list[StoredSession]:
        """See `Principals.sessions_of`."""
        return self.principals.sessions_of(principal)

    def principal_of(self, key: str) -> str | None:
        """See `Principals.principal_of`."""
        return self.principals.principal_of(key)

    def destroy(self, key: str) -> None:
        """See `Principals.destroy`."""
        self.principals.destroy(key)

    def destroy_sessions_of(self, principal: str | int, *, keep: str | None = None) -> int:
        """See `Principals.destroy_sessions_of`."""
        return self.principals.destroy_sessions_of(principal, keep=keep)

    # -- inside --------------------------------------------------------------------------------

    def _schedule(self, before: Snapshot | None, after: Snapshot) -> None:
        """Have a session refreshed that is to be kept alive from now on, or has a new key.

        The commit is done, so a fault is only logged; the session is then not refreshed before
        `Session.keep_alive` is called again, or its id changes.
        """
        was = before is not None and KEEP_ALIVE in before.envelope.marks
        is_now = KEEP_ALIVE in after.envelope.marks
        if not was and not is_now:
            return
        queue, old_key = self.backend.refreshes, None if before is None else before.key
        if queue is None or (was and is_now and old_key == after.key):
            return
        try:
            if is_now:
                queue.schedule(after.key, self._clock())
            if old_key is not None and (old_key != after.key or not is_now):
                queue.remove(old_key)
        except StoreUnavailable as error:
            _log.warning("session %s is not scheduled: %s", short_key(after.key), error)


def _logs_in(draft: Draft) -> bool:
    """Whether somebody logs in with this request."""
    return draft.cycling == "login"
