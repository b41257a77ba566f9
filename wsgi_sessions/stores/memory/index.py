"""The sessions of each principal, in this process's memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable


class MemoryIndex:
    """`PrincipalIndex` in a dictionary."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._keys: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._lock = threading.Lock()

    def add(self, principal: str, key: str, expires_at: float) -> None:
        """See `PrincipalIndex.add`."""
        with self._lock:
            self._keys[principal][key] = expires_at

    def remove(self, principal: str, key: str) -> None:
        """See `PrincipalIndex.remove`."""
        with self._lock:
            keys = self._keys.get(principal, {})
            keys.pop(key, None)
            if not keys:
                self._keys.pop(principal, None)

    def keys_of(self, principal: str) -> list[str]:
        """See `PrincipalIndex.keys_of`."""
        now = self._clock()
        with self._lock:
            keys = self._keys.get(principal, {})
            return [key for key, expires_at in keys.items() if expires_at > now]
