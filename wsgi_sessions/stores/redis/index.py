"""The sessions of each principal, on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.stores.redis.records import Keys, ttl
from wsgi_sessions.stores.redis.wire.commands import Script

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.wire.commands import Executor


# By the server's clock throughout: a worker whose clock is ahead must not remove live entries.
_ADD = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[2], ARGV[1])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last - now))
return 1
""")


class RedisIndex:
    """`PrincipalIndex`: a sorted set for each principal, which expires with its last entry."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys

    def add(self, principal: str, key: str, expires_at: float) -> None:
        left = ttl(expires_at)
        if left > 0:
            _ADD.run(self._executor, "index", key, (self._keys.principal(principal),), key, left)

    def remove(self, principal: str, key: str) -> None:
        self._executor.execute("index", key, "ZREM", self._keys.principal(principal), key)

    def keys_of(self, principal: str) -> list[str]:
        name = self._keys.principal(principal)
        found: list[bytes] = self._executor.execute("index", None, "ZRANGE", name, 0, -1)
        return [key.decode() for key in found]
