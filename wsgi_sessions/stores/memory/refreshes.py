"""The refresh queue in this process's memory."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort


class MemoryRefreshes:
    """`RefreshQueue` as a list sorted by time."""

    def __init__(self) -> None:
        self._due_at: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._others: dict[str, MemoryRefreshes] = {}

    def schedule(self, key: str, due_at: float) -> None:
        """See `RefreshQueue.schedule`."""
        with self._lock:
            self._remove(key)
            self._due_at[key] = due_at
            insort(self._order, (due_at, key))

    def due(self, now: float, limit: int) -> list[str]:
        """See `RefreshQueue.due`."""
        with self._lock:
            first = self._order[:limit]
        return [key for due_at, key in first if due_at <= now]

    def remove(self, key: str) -> None:
        """See `RefreshQueue.remove`."""
        with self._lock:
            self._remove(key)

    def of(self, application: str) -> MemoryRefreshes:
        """See `RefreshQueue.of`."""
        with self._lock:
            return self._others.setdefault(application, MemoryRefreshes())

    def _remove(self, key: str) -> None:
        due_at = self._due_at.pop(key, None)
        if due_at is not None:
            del self._order[bisect_left(self._order, (due_at, key))]
