"""Read-through: a new store that takes over sessions from an old one, each at its next use.

`read_through` returns a `Backend` made of two stores that keeps every promise of a single one.
Sessions are **moved** (see `mover` for the steps, and why a crash never loses or doubles a
session), so that there is one record afterwards, and a log-out counts in both stores.

==================  ================================================================================
sessions            loaded from the new store; missing ones are moved first. New ones are created
                    in the new store. Deletions go to both
index by principal  lookups join both stores; removals go to both
version stamps      the higher of the two, to which the new store is raised; bumps exceed both
contexts            from the new store, or else the old one; selections go only to the new one
keep-alive          due in either store; scheduled in the new one
locks, leases       only in the new store
expired sessions    deleted in both stores
==================  ================================================================================

Cost: nothing for a session that has moved, except one call to the old store for a log-in, for a
log-out, and for the version stamps of a page. If the old store is down, moved sessions keep
working; requests that need the old store are answered 503, never as anonymous.

**While some workers still use only the old store**, as in a rolling deploy, no update is lost
silently and no session is doubled. Those workers answer 503 for a moved session for ten minutes
(`mover.SIGN_SECONDS`), after which it is unknown to them; a save overtaken by a move is answered
503. Not promised then: that a log-out there ends a session that moved during that very request, and
that leases and exclusive blocks exclude those in the other store. Restarting all workers at once
avoids all of this.

Not promised: that a session is found if two stores take over from each other in turn and the
remaining sessions were not moved in between (`copying.copy` moves them).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import LIFETIME
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.record.tombstones import ENDED
from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    SessionExists,
    SessionGone,
    UnsupportedFormat,
    VersionConflict,
)
from wsgi_sessions.migration.mover import Mover
from wsgi_sessions.migration.takeover_parts import (
    BothContexts,
    BothIndexes,
    BothIteration,
    BothQueues,
    BothStamps,
    EachAdvice,
    EachExpired,
    EachLeftovers,
    EachSearch,
    TakeoverQuarantine,
)
from wsgi_sessions.migration.transfer import is_transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import (
        Backend,
        LeasedLoading,
        LeaseStore,
        Record,
        SessionStore,
    )
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.mutex import Fence


T = TypeVar("T")
R = TypeVar("R")


def read_through(
    new: Backend,
    old: Backend,
    *,
    absolute_lifetime: float,
    report: EndingReport | None = None,
    clock: Callable[[], float] = wall_clock,
) -> Backend:
    """Return a backend on `new` that takes over sessions from `old` on use.

    `absolute_lifetime` of sessions, in seconds; `report`: see `Mover`; `clock`: seconds since the
    epoch. The backend keeps no secret: one kept beside the sessions would change with the store.

    Raises ConfigurationError if the new store lacks an ability of the old one.
    """
    _require_abilities(new, old)
    mover = Mover(new, old, absolute_lifetime=absolute_lifetime, report=report, clock=clock)
    both = replace(
        new,
        sessions=TakeoverStore(mover),
        iteration=BothIteration(new, old),
        index=BothIndexes(new.index, old.index),
        search=_each(EachSearch, new.search, old.search),
        quarantine=new.quarantine and TakeoverQuarantine(new, old.sessions),
        expired=_each(EachExpired, new.expired, old.expired),
        expires_partly=new.expires_silently or old.expires_silently,
        leftovers=_each(lambda both: EachLeftovers(both, old), new.leftovers, old.leftovers),
        advice=_each(EachAdvice, new.advice, old.advice),
        rights=_each(EachAdvice, new.rights, old.rights),
        secret=None,
    )
    return _with_features(both, new, old, mover)


def _with_features(both: Backend, new: Backend, old: Backend, mover: Mover) -> Backend:
    if new.versions is not None and old.versions is not None:
        both = replace(both, versions=BothStamps(new.versions, old.versions))
    if new.contexts is not None and old.contexts is not None:
        both = replace(both, contexts=BothContexts(new.contexts, old.contexts))
    if new.refreshes is not None and old.refreshes is not None:
        both = replace(both, refreshes=BothQueues(new.refreshes, old.refreshes))
    if new.leased_loading is not None and new.leases is not None:
        both = replace(both, leased_loading=TakeoverLoading(new.leased_loading, new.leases, mover))
    return both


def _require_abilities(new: Backend, old: Backend) -> None:
    for ability in ("versions", "contexts", "refreshes"):
        if getattr(old, ability) is not None and getattr(new, ability) is None:
            raise ConfigurationError(
                f"the {new.name} store has no {ability}, but the {old.name} store does: sessions "
                "cannot be taken over"
            )


def _each(joined: Callable[[list[T]], R], *parts: T | None) -> R | None:
    """Join the parts that exist, or return None."""
    present = [part for part in parts if part is not None]
    return joined(present) if present else None


def look_through(new: Backend, old: Backend) -> Backend:
    """Return both stores as one, for inspection: nothing is moved."""
    return replace(
        new,
        sessions=BothSessions(new.sessions, old.sessions),
        iteration=BothIteration(new, old),
        index=BothIndexes(new.index, old.index),
        search=_each(EachSearch, new.search, old.search),
        secret=None,
    )


class BothSessions:
    """`SessionStore` that loads from the new store, or else from the old one, for `looking`."""

    def __init__(self, new: SessionStore, old: SessionStore) -> None:
        self._new = new
        self._old = old

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        for store in (self._new, self._old):
            record = store.load(key)
            if record is not None and not is_transfer(record.payload):
                return record
        return None

    def ping(self) -> None:
        """See `SessionStore.ping`. Both stores must answer."""
        self._new.ping()
        self._old.ping()

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._new.close()
        self._old.close()

    def __getattr__(self, name: str) -> Any:
        """Changes, such as those of a health check, go only to the new store."""
        return getattr(self._new, name)


class TakeoverStore:
    """`SessionStore` of the new store, which takes over from the old one."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._new = mover.new.sessions
        self._old = mover.old.sessions

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """See `SessionStore.create`. A record in the old store counts: not every key is random,
        such as those of `wsgi_sessions.importers.receipts`."""
        if self._old.load(key) is not None and self._mover.take(key) is not None:
            raise SessionExists("a record is there already; create it under a fresh id")
        self._new.create(key, payload, expires_at)

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        record = self._new.load(key)
        if record is not None and not is_transfer(record.payload):
            return record
        return self._mover.take(key)

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        """See `SessionStore.save`."""
        if _may_end_early(payload, key):
            self._old.delete(key)  # a copy there may live longer
        try:
            return self._new.save(
                key, payload, expires_at, expected_version=expected_version, fence=fence
            )
        except (SessionGone, VersionConflict) as error:
            if isinstance(error, VersionConflict) and not is_transfer(error.current.payload):
                raise
        # Workers of the other direction may have moved it since it was loaded.
        record = self._mover.take(key)
        if record is None:
            raise SessionGone("the record was destroyed or has expired")
        raise VersionConflict(record)

    def touch(self, key: str, expires_at: float) -> None:
        """See `SessionStore.touch`."""
        self._new.touch(key, expires_at)

    def delete(self, key: str) -> None:
        """See `SessionStore.delete`. The session ends in the new store even if the old one is down.

        For the order see `migration.mover`. The last call is for a worker of the other direction.
        """
        try:
            self._old.delete(key)
        finally:
            self._new.delete(key)
        self._old.delete(key)

    def ping(self) -> None:
        """See `SessionStore.ping`. Both stores must answer."""
        self._new.ping()
        self._old.ping()

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._mover.close()


class TakeoverLoading:
    """`LeasedLoading` of the new store, which takes over a missing session first."""

    def __init__(self, loading: LeasedLoading, leases: LeaseStore, mover: Mover) -> None:
        self._loading = loading
        self._leases = leases
        self._mover = mover

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """See `LeasedLoading.load_and_acquire`."""
        record, acquired = self._loading.load_and_acquire(key, holder, ttl)
        if record is not None and not is_transfer(record.payload):
            return record, acquired
        if self._mover.take(key) is not None:
            record, acquired = self._loading.load_and_acquire(key, holder, ttl)
            if record is not None and not is_transfer(record.payload):
                return record, acquired
        if acquired:
            self._leases.release(key, holder)
        return None, False


def _may_end_early(payload: bytes, key: str) -> bool:
    """Return whether a session may end before its copy in the old store, left by `copying.copy`: if
    it got another id, or has a lifetime of its own. That copy must not revive it."""
    try:
        metadata = open_sealed(payload, key).metadata
    except (CorruptRecord, UnsupportedFormat):
        return False
    return ENDED in metadata or LIFETIME in metadata
