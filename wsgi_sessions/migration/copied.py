"""The list of sessions that a copy put into a store: `CopiedKeys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_sessions.contract import PrincipalIndex

_LIST = "\0wsgi_sessions: copied from another store"


class CopiedKeys:
    """The keys that a copy put into a store, each until its session expires.

    A session in the list that is missing from the store was destroyed there: a repeated copy does
    not bring it back.

    The list is kept in the store's index, under a name that is not a user's (it begins with NUL):
    the index is the one list of keys with expiries that every store has, so that no store needs a
    table or a scan for the sake of a migration.
    """

    def __init__(self, index: PrincipalIndex) -> None:
        self._index = index

    def all(self) -> frozenset[str]:
        """Return the listed keys. Raises StoreUnavailable."""
        return frozenset(self._index.keys_of(_LIST))

    def add(self, key: str, expires_at: float) -> None:
        """List a key before its session is written. Raises StoreUnavailable."""
        self._index.add(_LIST, key, expires_at)

    def remove(self, key: str) -> None:
        """Drop a key whose session has left the store. Raises StoreUnavailable."""
        self._index.remove(_LIST, key)
