"""Principals: the sessions of each user, found and ended by a store's index. No WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import PRINCIPAL, REFRESHED, check_principal, principal_of
from wsgi_sessions.core.limits.labels import label_of
from wsgi_sessions.core.record.tombstones import UNANNOUNCED
from wsgi_sessions.endings import Cause
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.endings.report import EndingReport
    from wsgi_sessions.core.loading import Loader
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.core.transaction import Transaction

_MAX_LISTINGS = 10  # so that a user who logs in all the time does not keep this going for ever

_log = texts.log(__name__)


@texts.shows("short_key", "created_at", "expires_at", "last_used_at")
class StoredSession(NamedTuple):
    """A session as a listing shows it: nothing in it lets anyone use the session.

    Times are seconds since the epoch; for `last_used_at` see `Lifetimes.last_used`. `label` is that
    of `Session.label`. `is_current`: it is the session that the listing was asked for by.
    """

    key: str
    created_at: float
    expires_at: float
    last_used_at: float
    refreshed_at: float | None = None
    label: str | None = None
    is_current: bool = False

    @property
    def short_key(self) -> str:
        """The beginning of `key`, for logs."""
        return short_key(self.key)

    @classmethod
    def of(
        cls, key: str, expires_at: float, envelope: Envelope, lifetimes: Lifetimes
    ) -> StoredSession:
        """Return the listing of a stored session. Raises CorruptRecord."""
        created_at, asked = envelope.created_at, lifetimes.asked(envelope)
        last_used_at = lifetimes.last_used(expires_at, created_at, asked)
        refreshed_at, label = envelope.get_metadata(REFRESHED), label_of(envelope)
        return cls(key, created_at, expires_at, last_used_at, refreshed_at, label)


def bind(transaction: Transaction, principal: str | int | None) -> None:
    """Bind the session to a principal, or (None) to none, under its present id.

    Raises UnserializableValue. The commit that stores it raises StoreUnavailable if the index could
    not be told: the next use of the session does it.
    """
    if principal is not None:
        check_principal(principal, "principal")
    draft, former = transaction.draft(), transaction.snapshot
    if draft.get_metadata(PRINCIPAL) != principal:
        draft.set_metadata(PRINCIPAL, principal)
        transaction.when_committed(lambda: _relist(transaction, former))


def _relist(transaction: Transaction, former: Snapshot | None) -> None:
    """Update the index, once the session is stored."""
    principals, now = transaction.manager.principals, transaction.snapshot
    if former is not None:
        principals.unlist(former)
    if now is not None:
        principals.add(now.key, now.envelope)


class Principals:
    """The sessions of each principal on one backend: indexed, found, and ended."""

    def __init__(
        self,
        backend: Backend,
        loader: Loader,
        lifetimes: Lifetimes,
        report: EndingReport,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._backend = backend
        self._loader = loader
        self._lifetimes = lifetimes
        self._report = report
        self._clock = clock

    # -- for those who ask ---------------------------------------------------------------------

    def sessions_of(
        self, principal: str | int, *, current: str | None = None
    ) -> list[StoredSession]:
        """Return the live sessions of a principal, oldest first: one look-up, and a load for each.

        `current` is the `Session.key` of the request that asks: see `StoredSession.is_current`.
        Index entries without a session are removed. A lost entry comes back with the session's next
        use, within 5 % of its idle lifetime. Raises StoreUnavailable.
        """
        found = [
            StoredSession.of(live.key, live.expires_at, live.envelope, self._lifetimes)._replace(
                is_current=live.key == current
            )
            for live in self._live(principal, self._backend.index.keys_of(str(principal)))
            if UNANNOUNCED not in live.envelope.metadata
        ]
        return sorted(found, key=lambda session: session.created_at)

    def _live(self, principal: str | int, listed: Iterable[str]) -> Iterator[Snapshot]:
        """Return the live sessions of the `listed` keys, and remove dead entries.

        A session that is just getting a new id is found under that one too.
        """
        for key in listed:
            snapshot = self._loader.find(key)
            if snapshot is None or principal_of(snapshot.envelope) != str(principal):
                self._backend.index.remove(str(principal), key)
            else:
                yield snapshot

    def principal_of(self, key: str) -> str | None:
        """Return the principal of the session with this store key as text; None if there is none.

        Raises StoreUnavailable, and CorruptRecord if the record does not tell.
        """
        snapshot = self._loader.find(key)
        return None if snapshot is None else principal_of(snapshot.envelope)

    def destroy_sessions_of(
        self,
        principal: str | int,
        *,
        keep: str | None = None,
        only: str | None = None,
        by: str = "destroy_sessions_of()",
    ) -> int:
        """End all sessions of a principal, except that with the store key `keep`; return how many.

        `only`: end just the one with this key, or this `short_key`. It may come from a form: the
        key of another principal's session, or of a session that has another id since, ends none.

        A session that gets another id at the same time ends too. Not promised: the end of sessions
        that begin at the same time, by a log-in; lock the account first. `by`: the caller, for the
        reports and the traces of the ends (`EndTrace`). Raises StoreUnavailable.
        """
        count = 0
        for _ in range(_MAX_LISTINGS):
            # Until nothing is listed: a dead entry may belong to a session with another id since.
            keys = self._backend.index.keys_of(str(principal))
            listed = [key for key in keys if key != keep and _is_meant(only, key)]
            if not listed:
                break
            for live in self._live(principal, listed):
                self._backend.sessions.delete(live.key)
                self._backend.index.remove(str(principal), live.key)
                self._report.destroyed(live.key, Cause("revoked", by), live.envelope)
                count += 1
        return count

    # -- kept listed ---------------------------------------------------------------------------

    def add(self, key: str, envelope: Envelope) -> None:
        """Index a session by its principal, if it has one. Idempotent.

        Raises StoreUnavailable.
        """
        principal = principal_of(envelope)
        if principal is not None:
            until = self._lifetimes.listed_until(self._clock(), envelope)
            self._backend.index.add(principal, key, until)

    def add_again(self, snapshot: Snapshot) -> None:
        """Restore the index entry of a used session, once in 5 % of the idle lifetime.

        No request needs it, so a fault is only logged.
        """
        try:
            self.add(snapshot.key, snapshot.envelope)
        except StoreUnavailable as error:
            _log.warning(
                "session %s could not be indexed again: %s", short_key(snapshot.key), error
            )

    def unlist(self, snapshot: Snapshot) -> None:
        """Remove the entry of a dead session. A fault is only logged."""
        try:
            principal = principal_of(snapshot.envelope)
            if principal is not None:
                self._backend.index.remove(principal, snapshot.key)
        except StoreUnavailable as error:
            _log.warning("the index entry of a dead session stays until it is found: %s", error)


def _is_meant(only: str | None, key: str) -> bool:
    """Return whether a key is that of `only`, whole or short; shorter texts name no session."""
    return only is None or only in (key, short_key(key))
