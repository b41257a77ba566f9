"""Traces of ended sessions, in this process's memory."""

from __future__ import annotations

import threading
from heapq import nlargest
from typing import TYPE_CHECKING

from wsgi_sessions.endings import surplus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.endings import EndTrace


class MemoryEndings:
    """`EndTraces` in a dictionary."""

    def __init__(self) -> None:
        self._traces: dict[str, EndTrace] = {}
        self._lock = threading.Lock()

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:  # noqa: ARG002  # see `trim`
        """See `EndTraces.keep`."""
        with self._lock:
            self._traces.update((trace.key, trace) for trace in traces)

    def trace_of(self, key: str) -> EndTrace | None:
        """See `EndTraces.trace_of`."""
        return self._traces.get(key)

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.matching`."""
        return [trace for trace in self._all() if trace.key.startswith(beginning)][:limit]

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.of_user`."""
        theirs = [trace for trace in self._all() if trace.user == user]
        return nlargest(limit, theirs, key=lambda trace: trace.at)

    def trim(self, before: float, most: int) -> int:
        """See `EndTraces.trim`."""
        with self._lock:
            doomed = surplus(self._traces.values(), before, most)
            for key in doomed:
                del self._traces[key]
        return len(doomed)

    def _all(self) -> list[EndTrace]:
        with self._lock:
            return list(self._traces.values())
