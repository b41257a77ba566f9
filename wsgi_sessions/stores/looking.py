"""A store for those who only look: what loading, finding and counting would tidy up stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.contract import (
        Backend,
        PrincipalIndex,
        Quarantine,
        Record,
        SessionStore,
    )


def looking(backend: Backend) -> Backend:
    """The same store, of which records, users and what is set aside can be read only."""
    return replace(
        backend,
        sessions=Loading(backend.sessions),
        index=ReadOnlyIndex(backend.index),
        quarantine=backend.quarantine and Counting(backend.quarantine),
    )


class Loading:
    """`SessionStore` that loads. All that changes something raises StoreUnavailable."""

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
        """Change nothing."""
        raise StoreUnavailable("this store was opened to look at it: it is not changed")

    create = save = touch = delete = refuse


class ReadOnlyIndex:
    """`PrincipalIndex` that finds, and keeps dead entries."""

    def __init__(self, index: PrincipalIndex) -> None:
        self._index = index

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """Nothing is added."""

    def remove(self, principal: str, key: str) -> None:
        """Nothing is removed."""

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`."""
        return self._index.keys_of(principal)


class Counting:
    """`Quarantine` that counts."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    def set_aside(self, key: str, version: int, reason: str) -> None:
        """What is damaged stays where it is."""

    def quarantined(self) -> int:
        """See `Quarantine.quarantined`."""
        return self._quarantine.quarantined()
