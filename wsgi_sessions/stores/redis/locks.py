"""The mutex of a session on Redis: a key with a random token (see `stores.token_locks`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wsgi_sessions.stores.redis.connection import Script
from wsgi_sessions.stores.token_locks import LOCK_TTL

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.connection import Executor
    from wsgi_sessions.stores.redis.records import Keys

_TAKE = Script("""
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
_FREE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class RedisHolds:
    """`TokenHolds`. A failover of the server may free what is held, too."""

    def __init__(self, executor: Executor, keys: Keys, ttl: float = LOCK_TTL) -> None:
        self.ttl = ttl
        self._executor = executor
        self._keys = keys

    def take(self, key: str, token: str) -> bool:
        names, milliseconds = (self._keys.lock(key),), math.ceil(self.ttl * 1000)
        return bool(_TAKE.run(self._executor, "lock", key, names, token, milliseconds))

    def free(self, key: str, token: str) -> bool:
        return bool(_FREE.run(self._executor, "unlock", key, (self._keys.lock(key),), token))
