"""Leases: the sessions in use now. A policy over a `LeaseStore`; no WSGI.

A request holds a lease on the session that it uses, and a `Refresher` claims a session before it
refreshes it. Promised:

- while a holder lives and renews (every third of the ttl), a claim fails;
- holders are counted: the first of two to end does not free the session;
- a dead holder blocks claims for at most the ttl; in a file store, not at all;
- a lease is released however its request ends; if that fails, see the line above;
- while a refresher claims the session, new requests wait, for as long as the policy says.

Not promised:

- mutual exclusion between requests (that is `Session.exclusive`);
- that a holder that was paused for longer than the ttl notices. Others may have written in between;
  its later save is merged, or refused by the version compare, never written blindly;
- that leases work while the store does not: a fault is logged, and the request goes on without.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.core.limits.waiters import Waiters
from wsgi_sessions.errors import ConfigurationError, LockTimeout, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.leases.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from wsgi_sessions.contract import Backend, LeasedLoading, LeaseStore, Record

OnClaim = Literal["proceed", "refuse"]
LeaseState = Literal["held", "claimed", "absent"]
_log = texts.log(__name__)


@dataclass(frozen=True)
class LeasePolicy:
    """The rules of leases. Times are in seconds.

    Args:
        ttl: how long a dead holder blocks a claim.
        wait: how long a request waits for a claim to be released. At most two requests of a process
            wait for one session; others do not wait.
        on_claim: after that, "proceed" without a lease (the changes are merged with the
            claimant's), or "refuse" with 503.
    """

    ttl: float = 30.0
    wait: float = 2.0
    on_claim: OnClaim = "proceed"

    def __post_init__(self) -> None:
        if not self.ttl > 0 or not self.wait >= 0:
            raise ConfigurationError(
                f"a lease's ttl must be above 0 seconds and its wait not below, "
                f"not {self.ttl} and {self.wait}"
            )


class Leases:
    """The leases of this process's requests, on one backend; for `watch` see `Keeper`.

    Raises ConfigurationError for a backend without leases.
    """

    def __init__(
        self,
        backend: Backend,
        policy: LeasePolicy | None = None,
        watch: Callable[[Sized], object] | None = None,
    ) -> None:
        self.policy = policy or LeasePolicy()
        self.store = require_leases(backend)
        self._loading: LeasedLoading | None = backend.leased_loading
        self.keeper = Keeper(self.policy.ttl / 3, watch)
        self.waiters = Waiters()

    def begin(self, read: Callable[[str], Record | None]) -> Lease:
        """Return a lease for one request; `read` loads the session if the store cannot do both.

        Nothing is held before `Lease.load`.
        """
        return Lease(self, read)

    def take(
        self, key: str, holder: str, read: Callable[[str], Record | None]
    ) -> tuple[Record | None, LeaseState]:
        """Acquire and load, in one round trip where the store can. Raises StoreUnavailable."""
        if self._loading is not None:
            record, acquired = self._loading.load_and_acquire(key, holder, self.policy.ttl)
        elif acquired := self.acquire(key, holder):
            record = read(key)
        else:
            return None, "claimed"
        if record is not None:
            return record, "held" if acquired else "claimed"
        if acquired:
            self.release(key, holder)
        return None, "absent"

    def renew(self, key: str, holder: str) -> None:
        """Hold on; acquire the lease again if it was lost. A fault is logged."""
        try:
            if self.store.renew(key, holder, self.policy.ttl):
                return
            acquired = self.store.acquire(key, holder, self.policy.ttl)
        except StoreUnavailable as error:
            _log.warning("the lease of session %s was not renewed: %s", short_key(key), error)
        else:
            state = "in use" if acquired else "used while it is claimed"
            _log.debug("session %s is %s", short_key(key), state)

    def release(self, key: str, holder: str) -> None:
        """Release the lease. A fault is logged: the lease then expires."""
        try:
            self.store.release(key, holder)
        except StoreUnavailable as error:
            _log.warning("a lease of session %s ends by its ttl: %s", short_key(key), error)
        else:
            _log.debug("session %s is released", short_key(key))

    def close(self) -> None:
        """Release ended leases, and stop renewing. May be used again."""
        self.keeper.close()

    def acquire(self, key: str, holder: str) -> bool:
        """Acquire the lease; False while it is claimed. True after a fault, which is logged."""
        try:
            return self.store.acquire(key, holder, self.policy.ttl)
        except StoreUnavailable as error:
            _log.warning("session %s is used without a lease: %s", short_key(key), error)
            return True  # as good as held: the next renewal tries again


class Lease:
    """One request's lease on the session that it uses. Not thread-safe."""

    __slots__ = ("__weakref__", "_holder", "_key", "_leases", "_pid", "_read")

    def __init__(self, leases: Leases, read: Callable[[str], Record | None]) -> None:
        self._leases = leases
        self._read = read
        self._holder = secrets.token_hex(8)
        self._pid = os.getpid()
        self._key: str | None = None

    def load(self, key: str) -> Record | None:
        """Return the session's record, held from now on; wait if it is claimed.

        Raises StoreUnavailable, and LockTimeout where the policy refuses.
        """
        # Noted before the call, so that an interruption (gevent.Timeout) in it is cleaned up.
        self._key = key
        record, state = self._take(key)
        if state == "absent":
            self._key = None
            return None
        if state == "claimed":
            record = self._meet_claim(key)
        else:
            _log.debug("session %s is in use", short_key(key))
        self._leases.keeper.keep(self)
        return record

    def follow(self, key: str | None) -> None:
        """Follow the session to another key, or to its end.

        The new key is held on return, before any client learns the id. As in `load`, a claim on it
        is waited for, but never refused: the session is stored. The keeper's thread releases the
        old key soon after.
        """
        old, self._key = self._key, key
        if key != old:
            self._let_go(old)
            if key is not None:
                self._leases.keeper.keep(self)
                self._hold(key)

    def renew(self) -> None:
        """Hold on for another ttl."""
        key = self._key
        if key is not None:
            self._leases.renew(key, self._holder)

    def release(self) -> None:
        """Release the lease soon, by the keeper's thread: the response does not wait for it."""
        key, self._key = self._key, None
        self._leases.keeper.forget(self)
        self._let_go(key)

    def _take(self, key: str) -> tuple[Record | None, LeaseState]:
        found = self._leases.take(key, self._holder, self._read)
        if found[1] != "claimed":
            return found
        with self._leases.waiters.place(key) as has_place:
            deadline = monotonic() + self._leases.policy.wait
            while has_place and found[1] == "claimed" and monotonic() < deadline:
                _pause()
                found = self._leases.take(key, self._holder, self._read)
        return found

    def _hold(self, key: str) -> None:
        deadline = monotonic() + self._leases.policy.wait
        while not self._leases.acquire(key, self._holder):
            if monotonic() >= deadline:
                _log.info("session %s is used while it is claimed", short_key(key))
                return
            _pause()

    def _meet_claim(self, key: str) -> Record | None:
        policy = self._leases.policy
        _log.info(
            "session %s stays claimed, after a wait of up to %g s", short_key(key), policy.wait
        )
        if policy.on_claim == "proceed":
            return self._read(key)
        self._key = None
        raise LockTimeout(
            f"session {short_key(key)} is being refreshed for over {policy.wait:g} s; try again",
            operation="lease",
            key=short_key(key),
        )

    def _let_go(self, key: str | None) -> None:
        # A forked child has a copy of the request; its lease is the parent's.
        if key is not None and self._pid == os.getpid():
            leases, holder = self._leases, self._holder
            leases.keeper.do(lambda: leases.release(key, holder))


def _pause() -> None:
    time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  # spreads waiters, no secret


def require_leases(backend: Backend) -> LeaseStore:
    """Return the backend's leases. Raises ConfigurationError if it has none."""
    if backend.leases is None:
        raise ConfigurationError(f"the {backend.name} store has no leases: use another one")
    return backend.leases
