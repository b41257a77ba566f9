"""Version stamps in this process's memory."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Bump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HISTORY = 100


class MemoryVersions:
    """`VersionStamps` for one process: they start again with it, as its sessions do."""

    def __init__(self, clock: Callable[[], float] = wall_clock) -> None:
        self._clock = clock
        self._bumps: defaultdict[str, deque[Bump]] = defaultdict(partial(deque, maxlen=_HISTORY))
        self._lock = threading.Lock()

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """See `VersionStamps.current`."""
        with self._lock:
            return {scope: self._version(scope) for scope in scopes}

    def bump(self, scope: str, *, least: int = 0) -> int:
        """See `VersionStamps.bump`."""
        with self._lock:
            version = max(self._version(scope) + 1, least)
            self._bumps[scope].append(Bump(version, self._clock()))
        return version

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """See `VersionStamps.history`. The latest 100 are kept."""
        with self._lock:
            return list(reversed(self._bumps.get(scope, ())))[:limit]

    def _version(self, scope: str) -> int:
        bumps = self._bumps.get(scope)
        return bumps[-1].version if bumps else 0
