"""Leases in this process's memory, among its threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import LeaseInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@texts.shows("expires_at")
class _HeldClaim(NamedTuple):
    holder: str
    expires_at: float


class MemoryLeases:
    """`LeaseStore` in dictionaries. `clock`: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._holders: dict[str, dict[str, float]] = {}
        self._claims: dict[str, _HeldClaim] = {}
        self._lock = threading.Lock()

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.acquire`."""
        with self._lock:
            self._purge(key)
            if key in self._claims:
                return False
            self._holders.setdefault(key, {})[holder] = self._clock() + ttl
            return True

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.renew`."""
        with self._lock:
            self._purge(key)
            if holder in self._holders.get(key, {}):
                self._holders[key][holder] = self._clock() + ttl
                return True
            if self._is_claimed_by(key, holder):
                self._claims[key] = _HeldClaim(holder, self._clock() + ttl)
                return True
            return False

    def release(self, key: str, holder: str) -> None:
        """See `LeaseStore.release`."""
        with self._lock:
            self._holders.get(key, {}).pop(holder, None)
            if self._is_claimed_by(key, holder):
                del self._claims[key]
            self._purge(key)

    def holders(self, key: str) -> int:
        """See `LeaseStore.holders`."""
        with self._lock:
            self._purge(key)
            return len(self._holders.get(key, {}))

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.claim`."""
        with self._lock:
            self._purge(key)
            is_taken = key in self._claims and not self._is_claimed_by(key, holder)
            if is_taken or key in self._holders:
                return False
            self._claims[key] = _HeldClaim(holder, self._clock() + ttl)
            return True

    def leases(self) -> Iterator[LeaseInfo]:
        """See `LeaseListing.leases`."""
        with self._lock:
            for key in {*self._holders, *self._claims}:
                self._purge(key)
            now = self._clock()
            found = [
                LeaseInfo(key, "holder", holder, expires_at - now)
                for key, holders in self._holders.items()
                for holder, expires_at in holders.items()
            ]
            found += [
                LeaseInfo(key, "claim", claim.holder, claim.expires_at - now)
                for key, claim in self._claims.items()
            ]
        return iter(found)

    def _is_claimed_by(self, key: str, holder: str) -> bool:
        return key in self._claims and self._claims[key].holder == holder

    def _purge(self, key: str) -> None:
        now = self._clock()
        holders = self._holders.get(key, {})
        for holder in [h for h, expires_at in holders.items() if expires_at <= now]:
            del holders[holder]
        if not holders:
            self._holders.pop(key, None)
        if key in self._claims and self._claims[key].expires_at <= now:
            del self._claims[key]
