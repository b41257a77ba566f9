"""Principals: whose sessions are which, and ending them. Over a store's index; no WSGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.draft import LIFETIME, REFRESHED, mark_of, principal_of
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable, UnsupportedFormat
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from wsgi_sessions.commit import Lifetimes
    from wsgi_sessions.draft import Snapshot
    from wsgi_sessions.events import Events
    from wsgi_sessions.loading import Loader
    from wsgi_sessions.serialization import Envelope
    from wsgi_sessions.stores.base import Backend

_MAX_LISTINGS = 10  # so that somebody who logs in all the time does not keep us for ever

_log = texts.log("wsgi_sessions.principals")


@texts.shows("short_key", "created_at", "expires_at", "last_used_at")
class StoredSession(NamedTuple):
    """What a listing shows of a session: nothing that would let somebody use it.

    Times are seconds since the epoch; for `last_used_at` see `Lifetimes.last_used`.
    """

    key: str
    created_at: float
    expires_at: float
    last_used_at: float
    refreshed_at: float | None = None

    @property
    def short_key(self) -> str:
        """How `key` begins: what may stand in a log."""
        return short_key(self.key)

    @classmethod
    def of(
        cls, key: str, expires_at: float, envelope: Envelope, lifetimes: Lifetimes
    ) -> StoredSession:
        """A session as it is stored. Raises CorruptRecord."""
        created_at, asked = envelope.created_at, mark_of(envelope, LIFETIME)
        last_used_at = lifetimes.last_used(expires_at, created_at, asked)
        return cls(key, created_at, expires_at, last_used_at, mark_of(envelope, REFRESHED))


class Principals:
    """The sessions of each principal on one backend: kept listed, found, and ended."""

    def __init__(
        self, backend: Backend, loader: Loader, lifetimes: Lifetimes, events: Events
    ) -> None:
        self._backend = backend
        self._loader = loader
        self._lifetimes = lifetimes
        self._events = events

    # -- for those who ask ---------------------------------------------------------------------

    def sessions_of(self, principal: str | int) -> list[StoredSession]:
        """The live sessions of a principal, oldest first. One look-up, and a load for each.

        Index entries without a session are removed; one that was lost is put back by the session's
        next use, within 5 % of its idle lifetime. Raises StoreUnavailable.
        """
        found = []
        for key in self._backend.index.keys_of(str(principal)):
            snapshot = self._loader.find(key)
            if snapshot is None or principal_of(snapshot.envelope) != str(principal):
                self._backend.index.remove(str(principal), key)
                continue
            expires_at, envelope = snapshot.expires_at, snapshot.envelope
            found.append(StoredSession.of(key, expires_at, envelope, self._lifetimes))
        return sorted(found, key=lambda session: session.created_at)

    def principal_of(self, key: str) -> str | None:
        """Whom the session with this store key is bound to, as text; None also if there is none.

        Raises StoreUnavailable, and CorruptRecord if that cannot be told.
        """
        snapshot = self._loader.find(key)
        return None if snapshot is None else principal_of(snapshot.envelope)

    def destroy(self, key: str) -> None:
        """End the session with this store key, whoever uses it now. Idempotent.

        Raises StoreUnavailable.
        """
        try:
            principal = self.principal_of(key)
        except (UnsupportedFormat, CorruptRecord):
            principal = None  # whatever it is, it ends; its entry is removed when it is met
        self._backend.sessions.delete(key)
        self._events.emit("destroyed", short_key(key))
        if principal is not None:
            self._backend.index.remove(principal, key)

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
                self._backend.sessions.delete(key)
                self._backend.index.remove(str(principal), key)
                self._events.emit("destroyed", short_key(key))
            count += len(keys)
        return count

    # -- kept listed ---------------------------------------------------------------------------

    def add(self, key: str, envelope: Envelope) -> None:
        """Let a session be found by its principal, if it has one. Idempotent.

        Raises StoreUnavailable.
        """
        principal = principal_of(envelope)
        if principal is not None:
            # Until the last moment at which the session can live: touching needs no index call.
            until = envelope.created_at + self._lifetimes.absolute
            self._backend.index.add(principal, key, until)

    def add_again(self, snapshot: Snapshot) -> None:
        """Put the entry of a session in use back, should it have been lost; once in 5 % of the idle
        lifetime. It serves no request, so a fault is only logged."""
        try:
            self.add(snapshot.key, snapshot.envelope)
        except StoreUnavailable as error:
            _log.warning("session %s is not indexed anew: %s", short_key(snapshot.key), error)

    def unlist(self, snapshot: Snapshot) -> None:
        """Remove the entry of a dead session. It is dead already, so a fault is only logged."""
        try:
            principal = principal_of(snapshot.envelope)
            if principal is not None:
                self._backend.index.remove(principal, snapshot.key)
        except StoreUnavailable as error:
            _log.warning("the entry of a dead session stays until it is met: %s", error)
