"""The mutex of a session on Redis: a key with a random token (see `stores.token_locks`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from wsgi_sessions.stores.redis.wire.commands import Script
from wsgi_sessions.stores.redis.wire.endpoints import REPLY_SHARE
from wsgi_sessions.stores.token_locks import LOCK_TTL, Freeing, LockAttempt

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor

# ARGV: the token, the lock's time and the latest moment to take it, in milliseconds.
_TAKE = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, now} end
if not holder and now > tonumber(ARGV[3]) then return {2, now} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, now}
""")
_OUTCOMES: tuple[Literal["held", "taken", "late"], ...] = ("held", "taken", "late")
_FREE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
# The clock of the key's server: in a cluster, each server has its own.
_CLOCK = Script("""
local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
""")


class RedisHolds:
    """`TokenHolds` on Redis. A failover of the server may free the mutex, too.

    `timeout`: the deadline of an operation of the executor, in seconds.
    """

    def __init__(
        self, executor: Executor, keys: Keys, timeout: float, ttl: float = LOCK_TTL
    ) -> None:
        self.ttl = ttl
        self.patience = timeout * REPLY_SHARE
        self._executor = executor
        self._keys = keys

    def clock(self, key: str) -> float:
        now = _CLOCK.run(self._executor, "lock", key, (self._keys.lock(key),))
        return float(now) / 1000

    def take(self, key: str, token: str, latest: float) -> LockAttempt:
        names = (self._keys.lock(key),)
        times = (math.ceil(self.ttl * 1000), math.floor(latest * 1000))
        outcome, now = _TAKE.run(self._executor, "lock", key, names, token, *times)
        return LockAttempt(_OUTCOMES[outcome], now / 1000)

    def free(self, key: str, token: str) -> Freeing:
        retries = self._executor.retries
        if _FREE.run(self._executor, "unlock", key, (self._keys.lock(key),), token):
            return "freed"
        return "lost" if self._executor.retries == retries else "unknown"
