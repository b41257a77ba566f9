"""The promises of a store, stated once.

A store keeps opaque payloads under opaque keys. It knows nothing of HTTP, cookies, Python values or
merging: one commit loop (`core.commit.loop`) makes all consistency out of the small operations of
`SessionStore`. Every adapter passes one contract suite (`testing.SessionStoreContract`). See
`wsgi_sessions.upkeep` for a store's abilities of maintenance.

Units: an `expires_at` is seconds since the epoch (float); a key is the SHA-256 of a session id, 64
hex characters; a payload is bytes; a version is an int that starts at 1 and grows by 1.

Faults: every operation may raise `StoreUnavailable`, within the store's deadline. Absence is a
value, never an error, and a fault is never reported as absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from msgspec import Struct

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.endings import EndTraces
    from wsgi_sessions.mutex import Fence, SessionLocks
    from wsgi_sessions.upkeep import (
        Advice,
        Diagnosis,
        ExpiredDeletion,
        KeySearch,
        Leftovers,
        Quarantine,
        SecretKeeper,
        StoreClock,
        Tenants,
    )


Purpose = Literal["change", "use", "look"]
"""The purpose of opening a store: to change or end sessions; for any other writes; or to look only.

With the last, no folder, file or table is made, and nothing is repaired.
"""


@texts.shows("version", "expires_at")
class Record(Struct, frozen=True, gc=False):
    """One stored session, as of one moment."""

    version: int
    payload: bytes
    expires_at: float


class SessionStore(Protocol):
    """Records under keys, each changed by compare-and-set on its version.

    All operations are atomic with respect to each other, across threads and processes, and at kill
    -9: a reader sees one whole record or none. After an operation has returned, every later `load`,
    in any process, sees its effect.

    When `StoreUnavailable` is raised, a write may or may not have happened (a reply can be lost);
    calling again is safe, since the payload carries a token by which the caller knows its own. It
    is not safe after `WriteInDoubt`: the `create` may still arrive at any time.
    """

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """Store a new record at version 1. Raises `SessionExists` if one is there: no upsert.

        A store sends it once at most. If it may still be carried out later, `WriteInDoubt` is
        raised.
        """

    def load(self, key: str) -> Record | None:
        """Return the record, or None if there is none or it has expired.

        A damaged record is set aside (see `Quarantine`) and counts as absent. A record of a newer
        format raises `UnsupportedFormat` and stays where it is.
        """

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        """Replace the record if it is still at `expected_version`; returns its new version.

        Raises `VersionConflict` with the current record if it is not, and `SessionGone` if there is
        no record or it has expired: a save never creates. Raises `LockLost` if the mutex of the
        `fence` is no longer held. (A Redis Cluster checks a mutex on another node a moment before
        the save; if the mutex is lost in that moment, `Held.was_lost` says so.)
        """

    def touch(self, key: str, expires_at: float) -> None:
        """Move the expiry to `expires_at` if that is later. Data and version stay.

        Never creates and never shortens: of two touches that race, the later expiry stands. Only a
        save shortens.
        """

    def delete(self, key: str) -> None:
        """Remove the record. Idempotent. A save that began earlier cannot bring it back."""

    def ping(self) -> None:
        """Return if the store answers, else raise `StoreUnavailable`."""

    def close(self) -> None:
        """Release connections and files. The store may be used again: it reopens what it needs."""


class SessionIteration(Protocol):
    """Iteration over all live sessions. Not a snapshot: it may miss concurrent changes."""

    def keys(self) -> Iterator[str]:
        """Yield the key of every record that is live when it is reached, in no order."""

    def count(self) -> int:
        """Return the number of live records. Costs a scan."""


class PrincipalIndex(Protocol):
    """The sessions of each principal (user).

    An aid for finding sessions, not the truth about them: an entry may outlive its session, after a
    crash between two steps. An entry that is found without a session is removed. Its session is
    dead by then: an entry is added once the record is there, and before any client learns the
    session's id.
    """

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """Add an entry, or extend it."""

    def remove(self, principal: str, key: str) -> None:
        """Remove an entry. Idempotent."""

    def keys_of(self, principal: str) -> list[str]:
        """Return the keys of the principal's sessions, in no order."""


class Bump(NamedTuple):
    """One change of a version stamp: the version it led to, and when (seconds since the epoch)."""

    version: int
    at: float


class VersionStamps(Protocol):
    """A number per scope, such as ``global`` or ``league:5``, that only grows.

    A scope that was never bumped is at 0. A scope is any non-empty text; it is never taken for a
    path or a pattern.
    """

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """Return the current version of each scope: one round trip for all of them."""

    def bump(self, scope: str, *, least: int = 0) -> int:
        """Add one, or go up to `least` if that is more, and return the new version.

        Atomic across processes.
        """

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """Return the latest bumps, newest first. A store keeps a bounded number of them."""


@texts.shows("accessed_at")
class Context(NamedTuple):
    """The last thing that a principal worked on: an encoded value, and when it was selected."""

    value: bytes
    accessed_at: float


class ContextStore(Protocol):
    """The last context of each principal, under a name, outside of any session.

    It outlives sessions, has no expiry, and its value is opaque bytes.
    """

    def get(self, principal: str, name: str) -> Context | None:
        """Return the last context, or None. One round trip."""

    def set(self, principal: str, name: str, context: Context) -> None:
        """Remember a context in place of the last one. One round trip."""

    def add(self, principal: str, name: str, context: Context) -> bool:
        """Remember a context if there is none yet; return whether it did. One round trip."""

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """Forget the context, or only the `expected` one. Idempotent. One round trip.

        Pass `expected` to clear a stale context: one that is selected at the same time is then
        kept.
        """

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """Yield every (principal, name, context), in no order, for maintenance. Not a snapshot."""


class LeaseStore(Protocol):
    """The current users of each session: any number of holders, or one claim.

    A holder is a random text, new for each request. `ttl` is in seconds. While a holder renews in
    time, a claim fails. A dead holder blocks for at most the ttl (not at all where the kernel
    reports its death). Releasing one lease never frees another; releasing one after it expired, or
    after another holder acquired, changes nothing. All operations are idempotent for one holder: a
    caller that lost the reply may send them again. Time is by the store's own clock, not the
    host's.

    Not promised: mutual exclusion between requests (that is `SessionLocks`), nor that a holder that
    was paused past its ttl notices. Its later save is merged, or refused by the version compare.
    """

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """Become a holder; return False while another process claims the session."""

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """Hold (or claim) for another `ttl`; return False if the lease had been lost."""

    def release(self, key: str, holder: str) -> None:
        """Stop holding or claiming."""

    def holders(self, key: str) -> int:
        """Return the number of current holders."""

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """Take the session if it has no holder and no claim; return whether it did.

        New holders are kept out until the release, or for at most `ttl`.
        """


Role = Literal["holder", "claim"]
"""The role of a lease: held by a request that uses the session, or a claim that keeps holders
out."""


@texts.shows("role", "seconds")
class LeaseInfo(NamedTuple):
    """A listed lease: its holder or claimant, and its remaining `seconds` unless it is renewed."""

    key: str
    role: Role
    holder: str
    seconds: float


class LeaseListing(Protocol):
    """Iteration over all leases, for inspection: nothing is decided by it."""

    def leases(self) -> Iterator[LeaseInfo]:
        """Yield every lease that has not expired, in no order. Not a snapshot. Costs a scan."""


class LeasedLoading(Protocol):
    """Loading of a session that also acquires its lease, in one round trip."""

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """Return the results of `SessionStore.load` and `LeaseStore.acquire`, as of one moment.

        Without a record, nothing is acquired.
        """


class RefreshQueue(Protocol):
    """A queue of keep-alive sessions by the time of their next background refresh; no scans."""

    def schedule(self, key: str, due_at: float) -> None:
        """Set the time when the session is due: `due_at`, in seconds since the epoch."""

    def due(self, now: float, limit: int) -> list[str]:
        """Return up to `limit` keys that are due, longest overdue first. They stay scheduled."""

    def remove(self, key: str) -> None:
        """Forget a session. Idempotent."""

    def of(self, application: str) -> RefreshQueue:
        """Return the queue of one application, where several share the store.

        An application's hook is called for its own sessions only.
        """


@dataclass(frozen=True)
class Backend:
    """One store with all its abilities; an ability that the store lacks is None.

    Get one from `open_backend`, or build one by hand around a store of your own.

    Attributes:
        name: the kind of store, as health reports and logs show it.
        sessions, iteration, index, locks: what every store has.
        quarantine, expired, leftovers, advice, diagnosis: upkeep and health.
        rights: advice about permissions that the server denies to its user.
        secret: a signing secret that all workers share, if the store keeps one.
        versions, contexts, leases, leased_loading, refreshes: those of the other middlewares.
        lease_listing, tenants, clock, search: for commands. endings: traces of ended sessions.
        application: the application that this part of the store belongs to.
        expires_partly: whether the server deletes some expired records, `expired` others.
        hold: an object that lives as long as this backend.
    """

    name: str
    sessions: SessionStore
    iteration: SessionIteration
    index: PrincipalIndex
    locks: SessionLocks
    quarantine: Quarantine | None = None
    expired: ExpiredDeletion | None = None
    leftovers: Leftovers | None = None
    advice: Advice | None = None
    rights: Advice | None = None
    diagnosis: Diagnosis | None = None
    secret: SecretKeeper | None = None
    versions: VersionStamps | None = None
    contexts: ContextStore | None = None
    leases: LeaseStore | None = None
    leased_loading: LeasedLoading | None = None
    lease_listing: LeaseListing | None = None
    refreshes: RefreshQueue | None = None
    tenants: Tenants | None = None
    clock: StoreClock | None = None
    search: KeySearch | None = None
    endings: EndTraces | None = None
    application: str | None = None
    expires_partly: bool = False
    hold: object = None

    @property
    def expires_silently(self) -> bool:
        """Whether a session may expire and leave nothing: the server deletes it by itself."""
        return self.expired is None or self.expires_partly

    def close(self) -> None:
        """Close the store's connections and files. The store reopens them if it is used again."""
        self.sessions.close()
