"""Last contexts in this process's memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Context


class MemoryContexts:
    """`ContextStore` in a dictionary: outlives sessions, and ends with the process."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, str], Context] = {}
        self._lock = threading.Lock()

    def get(self, principal: str, name: str) -> Context | None:
        """See `ContextStore.get`."""
        return self._contexts.get((principal, name))

    def set(self, principal: str, name: str, context: Context) -> None:
        """See `ContextStore.set`."""
        with self._lock:
            self._contexts[principal, name] = context

    def add(self, principal: str, name: str, context: Context) -> bool:
        """See `ContextStore.add`."""
        with self._lock:
            if (principal, name) in self._contexts:
                return False
            self._contexts[principal, name] = context
            return True

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """See `ContextStore.clear`."""
        with self._lock:
            if expected is None or self._contexts.get((principal, name)) == expected:
                self._contexts.pop((principal, name), None)

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """See `ContextStore.items`."""
        with self._lock:
            found = [(*of, context) for of, context in self._contexts.items()]
        return iter(found)
