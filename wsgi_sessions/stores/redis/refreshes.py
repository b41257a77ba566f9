"""The refresh queue on Redis: one sorted set, by time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor


class RedisRefreshes:
    """`RefreshQueue` on Redis; on a cluster, all of it on one node."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._name = keys.refreshes

    def schedule(self, key: str, due_at: float) -> None:
        self._executor.execute("schedule", key, "ZADD", self._name, due_at, key)

    def due(self, now: float, limit: int) -> list[str]:
        span = ("-inf", now, "LIMIT", 0, limit)
        found: list[bytes] = self._executor.execute("due", None, "ZRANGEBYSCORE", self._name, *span)
        return [key.decode() for key in found]

    def remove(self, key: str) -> None:
        self._executor.execute("unschedule", key, "ZREM", self._name, key)

    def of(self, application: str) -> RedisRefreshes:  # noqa: ARG002  # its name is in all keys
        return self
