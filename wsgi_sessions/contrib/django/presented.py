"""The session key that a Django request presents, of this package or of Django's former engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.identity import is_id

if TYPE_CHECKING:
    from wsgi_sessions.core.source import Access
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.importers.adoption import Adoption


class Presented:
    """The `Request` of a transaction that no middleware of this package began."""

    __slots__ = ("_adoption", "_key", "_route")

    def __init__(self, key: str | None, adoption: Adoption | None, route: str) -> None:
        self._key = key
        self._adoption = adoption
        self._route = route

    def follow(self, transaction: Transaction) -> None:
        """Note that a session was taken over, and has been opened by its own key."""
        adoption, key = self._adoption, self._key
        if adoption is not None and key is not None and is_id(key):
            transaction.when_loaded(lambda: adoption.came_back(transaction.draft(), self.route()))

    def session_id(self) -> str | None:
        """See `Request`."""
        key = self._key
        if key is None or is_id(key):
            return key
        return None if self._adoption is None else self._adoption.adopt(key, self.route)

    def route(self) -> str:
        """See `Request`."""
        return self._route

    def access(self) -> Access:
        """See `Request`."""
        return "shared"
