"""Sessions on a Redis server, a Sentinel group or a Redis Cluster (6.2 or later, or Valkey).

What lies on the server, all under the key prefix:

=============================  =============================================================
``{<key>}``                    a session: format byte, version, expiry, payload; expires
``lock:{<key>}``               its mutex: the holder's token; expires after 30 s
``holders:{<key>}``            sorted set: who uses it now, by expiry; expires
``claim:{<key>}``              who refreshes it now, and keeps others out; expires
``context:{<hash>}``           hash: a principal's last contexts, by name; no expiry
``quarantine:{<key>}``         its damaged record, set aside; expires after 7 days
``refreshes``                  sorted set: the keys of keep-alive sessions, by when they are due
``quarantine``                 sorted set: which keys are set aside, by when
``versions:{stamps}``          hash: the version stamp of each scope
``bumps:{stamps}:<hash>``      list: the latest bumps of a scope
``principal:{<hash>}``         sorted set: the keys of a principal's sessions, by expiry; expires
=============================  =============================================================

The braces put all that belongs to one session into one slot of a cluster. The server's own time to
live decides when a session has expired, so clocks that disagree do not matter.

Not promised: that an acknowledged write survives a failover or a crash of the server. Replication
is asynchronous, ``WAIT`` does not make it consistent (https://redis.io/docs/latest/commands/wait/),
and what a server keeps on its disk depends on its ``appendfsync``.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    SessionExists,
    SessionGone,
    VersionConflict,
)
from wsgi_sessions.stores.base import Backend
from wsgi_sessions.stores.redis.advice import RedisAdvice
from wsgi_sessions.stores.redis.clock import RedisClock
from wsgi_sessions.stores.redis.cluster import ClusterExecutor
from wsgi_sessions.stores.redis.connection import NodeExecutor, Script, scan
from wsgi_sessions.stores.redis.contexts import RedisContexts
from wsgi_sessions.stores.redis.endpoints import FixedEndpoint, SentinelEndpoint
from wsgi_sessions.stores.redis.leases import RedisLeases
from wsgi_sessions.stores.redis.locks import RedisHolds
from wsgi_sessions.stores.redis.quarantine import RedisQuarantine
from wsgi_sessions.stores.redis.records import FORMAT, Keys, decode, encode, stamp, ttl
from wsgi_sessions.stores.redis.refreshes import RedisRefreshes
from wsgi_sessions.stores.redis.url import parse_url
from wsgi_sessions.stores.redis.versions import RedisVersions
from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.base import Record
    from wsgi_sessions.stores.redis.connection import Executor


_SAVE = Script("""
if redis.call('GETRANGE', KEYS[1], 0, 8) ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
if tonumber(ARGV[3]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
""")

# Compares what is left to live, not the stored expiry: that one is by the clock of whoever wrote
# it. PEXPIRE goes first because a script that has written once may go on when memory has run out.
_TOUCH = Script("""
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left >= tonumber(ARGV[2]) then return 0 end
if redis.call('GETRANGE', KEYS[1], 0, 0) ~= ARGV[3] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SETRANGE', KEYS[1], 9, ARGV[1])
return 1
""")

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


def open_redis(url: str, *, key_prefix: str = "session:", timeout: float = 1.0) -> Backend:
    """The backend at a Redis URL (see `redis.url`). Does not connect: the server may be down.

    `timeout` bounds each operation, its retry included, in seconds. Asking Sentinel for the
    primary, or a cluster for its slots, comes on top when it has to be done again.

    Raises `ConfigurationError` for a URL, prefix or time-out that makes no sense.
    """
    if not 0 < timeout < math.inf:
        raise ConfigurationError(f"the store's timeout must be above 0 seconds, not {timeout}")
    executor = open_executor(url, timeout)
    keys = Keys(key_prefix)
    quarantine = RedisQuarantine(executor, keys)
    sessions = RedisStore(executor, keys, quarantine)
    leases = RedisLeases(executor, keys, sessions)
    return Backend(
        name="redis",
        sessions=sessions,
        iteration=RedisIteration(executor, keys),
        index=RedisIndex(executor, keys),
        locks=TokenLocks(RedisHolds(executor, keys)),
        quarantine=quarantine,
        contexts=RedisContexts(executor, keys),
        advice=RedisAdvice(executor),
        versions=RedisVersions(executor, keys),
        leases=leases,
        leased_loading=leases,
        lease_listing=leases,
        clock=RedisClock(executor),
        refreshes=RedisRefreshes(executor, keys),
    )


def open_executor(url: str, timeout: float) -> Executor:
    """What runs commands on the server or servers at a URL. Raises `ConfigurationError`."""
    target = parse_url(url)
    if target.topology == "cluster":
        return ClusterExecutor(target, timeout)
    if target.topology == "sentinel":
        return NodeExecutor(SentinelEndpoint(target, timeout), timeout)
    return NodeExecutor(FixedEndpoint(target, timeout), timeout)


class RedisStore:
    """`SessionStore` on Redis.

    A write whose reply was lost is sent a second time. A `save` that had succeeded then meets its
    own record, as a `VersionConflict` or, if that was destroyed meanwhile, `SessionGone`; a
    `create` meets it as `SessionExists`.
    """

    def __init__(self, executor: Executor, keys: Keys, quarantine: RedisQuarantine) -> None:
        self._executor = executor
        self._keys = keys
        self._quarantine = quarantine

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        if not self._put(key, encode(1, payload, expires_at), ttl(expires_at)):
            raise SessionExists("a record is there already; create it under a fresh id")

    def load(self, key: str) -> Record | None:
        value = self._executor.execute("load", key, "GET", self._keys.record(key))
        return None if value is None else self._read(key, value)

    def save(self, key: str, payload: bytes, expires_at: float, *, expected_version: int) -> int:
        retries = self._executor.retries
        reply = _SAVE.run(
            self._executor,
            "save",
            key,
            (self._keys.record(key),),
            stamp(expected_version),
            encode(expected_version + 1, payload, expires_at),
            ttl(expires_at),
        )
        if reply == 1:
            return expected_version + 1
        current = None if reply is None else self._read(key, reply)
        if current is None:
            raise SessionGone("the record was destroyed or has expired")
        raise VersionConflict(current, is_after_retry=self._executor.retries != retries)

    def touch(self, key: str, expires_at: float) -> None:
        _TOUCH.run(
            self._executor,
            "touch",
            key,
            (self._keys.record(key),),
            struct.pack(">d", expires_at),
            ttl(expires_at),
            bytes([FORMAT]),
        )

    def delete(self, key: str) -> None:
        self._executor.execute("delete", key, "DEL", self._keys.record(key))

    def ping(self) -> None:
        for node in self._executor.nodes("ping"):
            node.execute("ping", None, "PING")

    def close(self) -> None:
        self._executor.close()

    def _put(self, key: str, value: bytes, left: int) -> bool:
        name = self._keys.record(key)
        if left > 0:
            reply = self._executor.execute("create", key, "SET", name, value, "PX", left, "NX")
            return reply is not None
        # Born expired: Redis refuses such a time to live, and there is nothing to keep.
        return not self._executor.execute("create", key, "EXISTS", name)

    def _read(self, key: str, value: bytes) -> Record | None:
        try:
            return decode(key, value)
        except CorruptRecord as error:
            self._quarantine.set_aside_value(key, value, error.reason)
            return None


class RedisIteration:
    """`SessionIteration` by SCAN. A key may come twice while the server resizes its table."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys

    def keys(self) -> Iterator[str]:
        for batch in self._batches("iterate"):
            yield from map(self._keys.in_braces, batch)

    def count(self) -> int:
        return sum(map(len, self._batches("count")))

    def _batches(self, operation: str) -> Iterator[list[bytes]]:
        return scan(self._executor, operation, self._keys.records_pattern)


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
