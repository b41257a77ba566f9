"""A store's abilities of maintenance, each a protocol of its own.

Every operation may raise `StoreUnavailable`, as those of `wsgi_sessions.contract`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from wsgi_sessions.contract import Record


OnDeleted = Callable[[str, "Record"], object]
"""Called with the store key and the last content of a deleted record."""
OnSetAside = Callable[[str, str], object]
"""Called with the store key of a damaged record, and the reason, once it is set aside."""


class ExpiredDeletion(Protocol):
    """Deletion of expired records, for stores that do not expire them on their own."""

    def delete_expired(self, limit: int, told: OnDeleted | None = None) -> int:
        """Delete up to `limit` expired records and return how many; fewer means that none is left.

        Never deletes a live record, even one that is touched or saved at the same time. Calls
        `told` with the key and the record of each, once it is deleted.
        """

    def remains(self, key: str) -> Record | None:
        """Return the record under this key if it has expired and is still stored."""

    def count_expired(self) -> int:
        """Return the number of expired records that are still stored. Costs a scan."""


class Quarantine(Protocol):
    """A place for damaged records: never served again, kept for inspection, bounded in number."""

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """Move the record under `key` out of the way if it is still at `version`."""

    def quarantined(self) -> int:
        """Return the number of records in quarantine."""

    def report_to(self, told: OnSetAside) -> None:
        """Call `told` with each record that the store itself sets aside from now on."""


class KeySearch(Protocol):
    """Finding of records by the beginning of their keys, as an operator types it."""

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """Return up to `limit` keys of stored records, live or expired, that begin like this.

        The beginning has 2 digits or more. No record is read.
        """


class Leftovers(Protocol):
    """Remains of crashes (temporaries, unused locks), removed at start and regularly."""

    def elect(self, interval: float) -> AbstractContextManager[bool]:
        """Return True for one process at a time, and at most once in `interval` seconds."""

    def remove_leftovers(self) -> dict[str, int]:
        """Remove what no live process can need; return the number removed of each kind."""


class Advice(Protocol):
    """Warnings about settings of the server or the file system that endanger sessions."""

    def warnings(self) -> list[str]:
        """Return one sentence for each: what is wrong, what it risks, what to do."""


class Diagnosis(Protocol):
    """The store's own self-test, for health checks."""

    def facts(self) -> Mapping[str, str | int | float]:
        """Return facts by name, such as free bytes. Raises StoreUnavailable if a test fails."""

    def tidy(self, key: str) -> None:
        """Remove what a deleted probe record under this key may have left. Never raises."""


class StoreClock(Protocol):
    """The clock by which the store expires records."""

    def now(self) -> float:
        """Return seconds since the epoch. Raises StoreUnavailable."""


class Tenants(Protocol):
    """The applications that use a store."""

    def names(self) -> list[str]:
        """Return their names, sorted. May cost a scan; raises StoreUnavailable."""


class SecretKeeper(Protocol):
    """A signing secret that all workers share, kept beside the sessions."""

    def secret(self) -> str:
        """Return the kept secret. The first call in any process creates it, once."""

    def kept(self) -> str | None:
        """Return the secret, or None if there is none yet; creates nothing."""
