"""Foreign sessions in Redis: one string each, under a prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.stores.redis.backend import open_executor
from wsgi_sessions.stores.redis.wire.commands import literally, scan

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from wsgi_sessions.stores.redis.wire.commands import Executor

_LOAD, _RETIRE, _SCAN = "import", "retire", "import"


class RedisRecords:
    """`ForeignRecords` under a prefix, limited to names that match `pattern`."""

    def __init__(self, executor: Executor, prefix: str, pattern: re.Pattern[str]) -> None:
        self._executor = executor
        self._prefix = prefix
        self._pattern = pattern

    def load(self, name: str) -> bytes | None:
        payload: bytes | None = self._executor.execute(_LOAD, None, "GET", self._prefix + name)
        return payload

    def delete(self, name: str) -> None:
        self._executor.execute(_RETIRE, None, "DEL", self._prefix + name)

    def names(self) -> Iterator[str]:
        for batch in scan(self._executor, _SCAN, literally(self._prefix) + "*"):
            yield from filter(self._pattern.fullmatch, map(self._name, batch))

    def expires_at(self, name: str) -> float | None:
        left = int(self._executor.execute(_LOAD, None, "PTTL", self._prefix + name))
        return None if left < 0 else wall_clock() + left / 1000

    def close(self) -> None:
        self._executor.close()

    def _name(self, key: bytes) -> str:
        return key.decode("utf-8", "replace").removeprefix(self._prefix)


def open_redis_records(
    url: str, *, prefix: str, pattern: re.Pattern[str], timeout: float
) -> RedisRecords:
    """Return the records at a Redis URL, without contacting it. Raises ConfigurationError."""
    return RedisRecords(open_executor(url, timeout), prefix, pattern)
