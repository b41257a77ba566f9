"""What a store promises, stated once.

A store keeps opaque payloads under opaque keys. It knows nothing of HTTP, cookies, Python values or
merging: all consistency is made by one loop (`wsgi_sessions.core.commit.loop`) out of the five
small operations of `SessionStore`. Every adapter passes one contract suite
(``tests/contract/test_stores.py``). What a store offers for its upkeep is in
`wsgi_sessions.upkeep`.

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

    from wsgi_sessions.mutex import Fence, SessionLocks
    from wsgi_sessions.upkeep import Advice, Diagnosis, Leftovers, SecretKeeper, StoreClock, Tenants


Purpose = Literal["change", "use", "look"]
"""What a store is opened for: to change or end sessions; for anything else that writes; or to look:
then no folder, file or table is made, and nothing is repaired."""


@texts.shows("version", "expires_at")
class Record(Struct, frozen=True):
    """One stored session, as of one moment."""

    version: int
    payload: bytes
    expires_at: float


class SessionStore(Protocol):
    """Records under keys, each changed by compare-and-set on its version.

    All operations are atomic with respect to each other, across threads and processes, and at
    kill -9: a reader sees one whole record or none. After an operation has returned, every later
    `load`, in whichever process, sees its effect.

    When `StoreUnavailable` is raised, a write may or may not have happened (a reply can be lost);
    calling again is safe, since the payload carries a token by which the caller knows its own. Not
    so after `WriteInDoubt`: a `create` may be under way for as long as it likes.
    """

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        """Store a new record at version 1. Raises `SessionExists` if one is there: no upsert.

        It is sent once at most: whatever may yet be carried out raises `WriteInDoubt`.
        """

    def load(self, key: str) -> Record | None:
        """The record, or None if there is none or it has expired.

        A damaged record is set aside (see `Quarantine`) and is None. One of a newer format raises
        `UnsupportedFormat` and stays where it is.
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
        none or it has expired: a save never creates. `LockLost` if the mutex of the `fence` is no
        longer held. (A cluster of Redis looks at one that lies on another node a moment before; if
        it is lost just then, `Held.was_lost` tells.)
        """

    def touch(self, key: str, expires_at: float) -> None:
        """Move the expiry to `expires_at` if that is later than it is. Data and version stay.

        Never creates, and never shortens: of two touches that race, the later expiry stands. To
        shorten, save.
        """

    def delete(self, key: str) -> None:
        """Remove the record. Idempotent. No save begun before can bring it back."""

    def ping(self) -> None:
        """Return if the store answers, else raise `StoreUnavailable`."""

    def close(self) -> None:
        """Release connections and files. The store may be used again: it reopens what it needs."""


class SessionIteration(Protocol):
    """Going through all live sessions. Not a snapshot: what changes meanwhile may be missed."""

    def keys(self) -> Iterator[str]:
        """The key of every record that is live when it is reached, in no order."""

    def count(self) -> int:
        """How many live records there are. Costs a scan."""


class ExpiredDeletion(Protocol):
    """Deleting what has expired, for stores that do not do it by themselves."""

    def delete_expired(self, limit: int) -> int:
        """Delete up to `limit` expired records and return how many; fewer means no more are left.

        Never deletes a live record, also when it is touched or saved meanwhile.
        """

    def count_expired(self) -> int:
        """How many expired records still lie there. Costs a scan."""


class Quarantine(Protocol):
    """Setting damaged records aside: never served again, kept for a look, bounded in number."""

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """Move the record under `key` out of the way if it is still at `version`."""

    def quarantined(self) -> int:
        """How many records are set aside now."""


class PrincipalIndex(Protocol):
    """Which sessions belong to a principal (a user).

    An aid to find sessions, not the truth about them: an entry may outlive its session (a crash
    between two steps). An entry that is found without a session is removed. It was dead then, since
    entries are added after the record is there, and before anybody is told the session's id.
    """

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """Add an entry, or extend it."""

    def remove(self, principal: str, key: str) -> None:
        """Remove an entry. Idempotent."""

    def keys_of(self, principal: str) -> list[str]:
        """The keys of the principal's sessions, in no order."""


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
        """The current version of each scope. One round trip for all of them, where there is one."""

    def bump(self, scope: str, *, least: int = 0) -> int:
        """Add one, or go up to `least` if that is more, and return the new version.

        Atomic across processes.
        """

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """The latest bumps, newest first; a bounded number of them is kept."""


@texts.shows("accessed_at")
class Context(NamedTuple):
    """What a principal last worked on: an encoded value, and when it was selected."""

    value: bytes
    accessed_at: float


class ContextStore(Protocol):
    """The last context of each principal, under a name, outside of any session.

    It outlives sessions, has no expiry, and its value is opaque bytes.
    """

    def get(self, principal: str, name: str) -> Context | None:
        """The last context, or None. One round trip."""

    def set(self, principal: str, name: str, context: Context) -> None:
        """Remember a context in place of the last one. One round trip."""

    def add(self, principal: str, name: str, context: Context) -> bool:
        """Remember a context if none is remembered; whether it was so. One round trip."""

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """Forget it; with `expected`, only if it is that one still. Idempotent. One round trip.

        A context that turned out to be stale is cleared so, lest one be lost that was selected
        meanwhile.
        """

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """Every (principal, name, context), in no order: for maintenance. Not a snapshot."""


class LeaseStore(Protocol):
    """Who uses a session right now: any number of holders, or one claim.

    A holder is a random text, new for each request. `ttl` is in seconds. While a holder renews in
    time, a claim fails. A dead holder blocks for at most the ttl (at once, where the kernel knows
    of its death). Releasing one never frees another; releasing after the expiry, or after somebody
    else has acquired, changes nothing. All operations are idempotent for one holder, so that one
    whose reply was lost may be sent again. Time is the store's own clock, not the host's.

    Not promised: mutual exclusion between requests (that is `SessionLocks`), nor that a holder that
    was paused past its ttl notices; what it saves then is merged or refused by the version compare.
    """

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """Become a holder; False while somebody has claimed the session."""

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """Hold (or claim) for another `ttl`; False if the lease had been lost."""

    def release(self, key: str, holder: str) -> None:
        """Stop holding or claiming."""

    def holders(self, key: str) -> int:
        """How many hold the session now."""

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """Take the session if nobody holds or claims it, and keep new holders out until released,
        or for at most `ttl`."""


Role = Literal["holder", "claim"]
"""Of somebody with a lease: one of those who use the session, or the one who keeps them out."""


@texts.shows("role", "seconds")
class LeaseInfo(NamedTuple):
    """Somebody who uses a session now: holder or claimant, and for how many seconds at most, unless
    they renew."""

    key: str
    role: Role
    holder: str
    seconds: float


class LeaseListing(Protocol):
    """Going through all leases, to look at them: nothing is decided by it."""

    def leases(self) -> Iterator[LeaseInfo]:
        """Every lease whose time is not up, in no order. Not a snapshot. Costs a scan."""


class LeasedLoading(Protocol):
    """Loading a session and becoming a holder of it in one round trip."""

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """What `SessionStore.load` and then `LeaseStore.acquire` give, as of one moment.

        Where there is no record, nothing is acquired.
        """


class RefreshQueue(Protocol):
    """When each keep-alive session is due for a background refresh, found without a scan."""

    def schedule(self, key: str, due_at: float) -> None:
        """Let the session be due at `due_at` (seconds since the epoch), in place of before."""

    def due(self, now: float, limit: int) -> list[str]:
        """Up to `limit` keys that are due, the longest due first. They stay scheduled."""

    def remove(self, key: str) -> None:
        """Forget a session. Idempotent."""

    def of(self, application: str) -> RefreshQueue:
        """The schedule of one application, where several share the store: no other's hook is ever
        called for its sessions."""


@dataclass(frozen=True)
class Backend:
    """One store with all its abilities; an ability that it lacks is None."""

    name: str
    sessions: SessionStore
    iteration: SessionIteration
    index: PrincipalIndex
    locks: SessionLocks
    quarantine: Quarantine | None = None
    expired: ExpiredDeletion | None = None
    leftovers: Leftovers | None = None
    advice: Advice | None = None
    rights: Advice | None = None  # about what the server keeps from its user
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
    application: str | None = None
    """Whose part of the store this is: see `named.of_application`."""
    hold: object = None
    """What has to live as long as this backend is used: see `stack.choice.chosen`."""

    def close(self) -> None:
        """Close what the backend has open."""
        self.sessions.close()
