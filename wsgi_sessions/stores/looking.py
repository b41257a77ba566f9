"""A store for inspection: loading, finding and counting change nothing in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.contract import (
        Backend,
        PrincipalIndex,
        Record,
        SessionStore,
    )
    from wsgi_sessions.upkeep import OnSetAside, Quarantine


def looking(backend: Backend) -> Backend:
    """Return the same store with read-only records, users and quarantine."""
    return replace(
        backend,
        sessions=Loading(backend.sessions),
        index=ReadOnlyIndex(backend.index),
        quarantine=backend.quarantine and Counting(backend.quarantine),
    )


class Loading:
    """A `SessionStore` that loads. Every operation that writes raises StoreUnavailable."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    def load(self, key: str) -> Record | None:
        """See `SessionStore.load`."""
        return self._sessions.load(key)

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._sessions.ping()

    def close(self) -> None:
        """See `SessionStore.close`."""
        self._sessions.close()

    def refuse(self, *_: object, **__: object) -> NoReturn:
        """Raise StoreUnavailable: nothing is changed."""
        raise StoreUnavailable("this store was opened for inspection: it cannot be changed")

    create = save = touch = delete = refuse


class ReadOnlyIndex:
    """A `PrincipalIndex` that finds, and keeps dead entries."""

    def __init__(self, index: PrincipalIndex) -> None:
        self._index = index

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """Do nothing."""

    def remove(self, principal: str, key: str) -> None:
        """Do nothing."""

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`."""
        return self._index.keys_of(principal)


class Counting:
    """A `Quarantine` that only counts."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """Do nothing: damaged records stay where they are."""

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return self._quarantine.quarantined()

    def report_to(self, told: OnSetAside) -> None:
        """Do nothing: nothing is set aside."""
