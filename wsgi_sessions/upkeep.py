"""What a store offers to those who look after it, stated once; each is an ability of its own.

Every operation may raise `StoreUnavailable`, as those of `wsgi_sessions.contract`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager


class Leftovers(Protocol):
    """What crashes leave behind (temporaries, unused locks), cleaned up at start and regularly."""

    def elect(self, interval: float) -> AbstractContextManager[bool]:
        """True for one process at a time, and for nobody within `interval` seconds of the last."""

    def remove_leftovers(self) -> dict[str, int]:
        """Remove what no live process can still need; returns how many of each kind."""


class Advice(Protocol):
    """Settings of the server or the file system that endanger sessions."""

    def warnings(self) -> list[str]:
        """One sentence each: what is wrong, what it risks, what to do."""


class Diagnosis(Protocol):
    """What a health check looks at beside the records: the store's own self-test."""

    def facts(self) -> Mapping[str, str | int | float]:
        """Facts by name, such as free bytes. Raises StoreUnavailable if the self-test fails."""

    def tidy(self, key: str) -> None:
        """Remove what a probe record under this key, which was deleted, may have left. Never
        raises."""


class StoreClock(Protocol):
    """The clock by which the store decides that something has expired."""

    def now(self) -> float:
        """Seconds since the epoch. Raises StoreUnavailable."""


class Tenants(Protocol):
    """Which applications use a store."""

    def names(self) -> list[str]:
        """Their names, sorted. May cost a scan; raises StoreUnavailable."""


class SecretKeeper(Protocol):
    """A signing secret that all workers share, kept beside the sessions."""

    def secret(self) -> str:
        """The kept secret; made at the first call, once, whoever calls."""

    def kept(self) -> str | None:
        """The same, but nothing is made: None if there is none yet."""
