"""The clock of a Redis server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.connection import Executor


class RedisClock:
    """`StoreClock`: of several servers, the one that differs most from this host."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def now(self) -> float:
        """See `StoreClock.now`."""
        clocks = []
        for node in self._executor.nodes("clock"):
            seconds, microseconds = node.execute("clock", None, "TIME")
            clocks.append(int(seconds) + int(microseconds) / 1e6)
        here = wall_clock()
        return max(clocks, key=lambda there: abs(there - here))
