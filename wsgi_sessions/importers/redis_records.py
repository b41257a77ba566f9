"""Foreign sessions in Redis: one string each, named between a prefix and a suffix."""

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

    def __init__(
        self, executor: Executor, prefix: str, pattern: re.Pattern[str], suffix: str = ""
    ) -> None:
        self._executor = executor
        self._prefix = prefix
        self._pattern = pattern
        self._suffix = suffix

    def load(self, name: str) -> bytes | None:
        payload: bytes | None = self._executor.execute(_LOAD, None, "GET", self._key(name))
        return payload

    def delete(self, name: str) -> None:
        self._executor.execute(_RETIRE, None, "DEL", self._key(name))

    def names(self) -> Iterator[str]:
        for batch in scan(
            self._executor, _SCAN, literally(self._prefix) + "*" + literally(self._suffix)
        ):
            yield from filter(self._pattern.fullmatch, map(self._name, batch))

    def expires_at(self, name: str) -> float | None:
        left = int(self._executor.execute(_LOAD, None, "PTTL", self._key(name)))
        return None if left < 0 else wall_clock() + left / 1000

    def close(self) -> None:
        self._executor.close()

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}{self._suffix}"

    def _name(self, key: bytes) -> str:
        name = key.decode("utf-8", "replace").removeprefix(self._prefix)
        return name.removesuffix(self._suffix)


def open_redis_records(
    url: str, *, prefix: str, pattern: re.Pattern[str], timeout: float, suffix: str = ""
) -> RedisRecords:
    """Return the records at a Redis URL, without contacting it. Raises ConfigurationError."""
    return RedisRecords(open_executor(url, timeout), prefix, pattern, suffix)
