"""Last contexts on a Redis server: a hash for each principal, a field for each name, no expiry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.stores.context_records import digest, pack, unpack, unpack_under
from wsgi_sessions.stores.redis.wire.commands import Script, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Context
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor

_CLEAR_IF = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
""")
_log = texts.log(__name__)


class RedisContexts:
    """`ContextStore` under ``{prefix}context:{<hash>}``. Each operation may be sent twice."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys

    def get(self, principal: str, name: str) -> Context | None:
        value = self._executor.execute(
            "context", None, "HGET", self._of(principal), texts.as_bytes(name)
        )
        key = digest(principal, name)
        found = None if value is None else _read(partial(unpack_under, key), value)
        return None if found is None else found[2]

    def set(self, principal: str, name: str, context: Context) -> None:
        value = pack(principal, name, context)
        self._executor.execute(
            "context", None, "HSET", self._of(principal), texts.as_bytes(name), value
        )

    def add(self, principal: str, name: str, context: Context) -> bool:
        """See `ContextStore.add`. False also if a first attempt did it and its reply was lost."""
        value = pack(principal, name, context)
        field = texts.as_bytes(name)
        of = self._of(principal)
        return bool(self._executor.execute("context", None, "HSETNX", of, field, value))

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        key, field = self._of(principal), texts.as_bytes(name)
        if expected is None:
            self._executor.execute("context", None, "HDEL", key, field)
            return
        value = pack(principal, name, expected)
        _CLEAR_IF.run(self._executor, "context", None, (key,), field, value)

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """See `ContextStore.items`. One may come twice while the server resizes its table."""
        for names in scan(self._executor, "contexts", self._keys.contexts_pattern):
            for name in names:
                values = self._executor.execute("contexts", None, "HVALS", name)
                for found in filter(None, map(partial(_read, unpack), values)):
                    if texts.as_bytes(self._of(found[0])) == name:
                        yield found

    def _of(self, principal: str) -> str:
        return self._keys.context(digest(principal))


def _read(
    open_record: Callable[[bytes], tuple[str, str, Context]], value: bytes
) -> tuple[str, str, Context] | None:
    try:
        return open_record(value)
    except CorruptRecord as error:
        _log.error("a remembered context counts as absent: %s", error.reason)
        return None
