"""Session records on Redis, each changed by one command or script."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from wsgi_sessions.errors import (
    CorruptRecord,
    SessionExists,
    SessionGone,
    VersionConflict,
)
from wsgi_sessions.mutex import lock_lost
from wsgi_sessions.stores.redis.records import (
    FORMAT,
    STAMP_SIZE,
    Keys,
    decode,
    encode,
    head,
    ttl,
)
from wsgi_sessions.stores.redis.wire.commands import Script, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Record
    from wsgi_sessions.mutex import Fence
    from wsgi_sessions.stores.redis.quarantine import RedisQuarantine
    from wsgi_sessions.stores.redis.wire.commands import Executor
    from wsgi_sessions.stores.redis.wire.link import Command


# ARGV: the beginning of the stored version, the value, its time to live ('' if that is over), and
# the beginning of the stored version if its expiry is the value's. An unchanged expiry may be by
# another host's clock: not a time from now.
_AT_VERSION = """
local head = redis.call('GETRANGE', KEYS[1], 0, 16)
local is_kept = head == ARGV[4]
if not is_kept and string.sub(head, 1, 9) ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
"""
_REPLACE = """
if is_kept and redis.call('PTTL', KEYS[1]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
elseif ARGV[3] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
"""
_SAVE = Script(_AT_VERSION + _REPLACE)

# KEYS[2]: the lock; ARGV[5]: its holder. The version is checked first: a save that is repeated
# after a lost reply must find that it was done.
_SAVE_FENCED = Script(
    f"{_AT_VERSION} if redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end {_REPLACE}"
)

# Compares the time to live, not the stored expiry: that one is by the writer's clock. PEXPIRE goes
# first because a script that has written once may go on when memory has run out.
_TOUCH = Script("""
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left >= tonumber(ARGV[2]) then return 0 end
if redis.call('GETRANGE', KEYS[1], 0, 0) ~= ARGV[3] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SETRANGE', KEYS[1], 9, ARGV[1])
return 1
""")


_SEARCHED = 5000  # keys in one step of a search: a millisecond of the server's


class RedisStore:
    """`SessionStore` on Redis.

    A write is repeated if its reply was lost. A `save` that had succeeded then finds its own
    record, as a `VersionConflict` or, if that was destroyed in between, `SessionGone`. A `create`
    is never repeated, unless the server said that it did nothing.
    """

    def __init__(
        self, executor: Executor, keys: Keys, quarantine: RedisQuarantine, topology: str = "server"
    ) -> None:
        self._executor = executor
        self._keys = keys
        self._quarantine = quarantine
        self._topology = topology

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        if not self._put(key, encode(1, payload, expires_at), ttl(expires_at)):
            raise SessionExists("a record is there already; create it under a fresh id")

    def load(self, key: str) -> Record | None:
        value = self._executor.execute("load", key, "GET", self._keys.record(key))
        return None if value is None else self._read(key, value)

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        retries = self._executor.retries
        name, version = self._keys.record(key), expected_version + 1
        value = encode(version, payload, expires_at)
        before, left = head(expected_version, expires_at), ttl(expires_at)
        words: Command = (before[:STAMP_SIZE], value, left if left > 0 else "", before)
        if fence is None:
            reply = _SAVE.run(self._executor, "save", key, (name,), *words)
        elif self._shares_a_node(key, fence.key):
            names = (name, self._keys.lock(fence.key))
            reply = _SAVE_FENCED.run(self._executor, "save", key, names, *words, fence.number)
        else:
            self._require(fence, key)
            reply = _SAVE.run(self._executor, "save", key, (name,), *words)
        if reply == 1:
            return version
        if reply == 0:
            raise lock_lost(key)
        current = None if reply is None else self._read(key, reply)
        if current is None:
            raise SessionGone("the record was destroyed or has expired")
        raise VersionConflict(current, is_after_retry=self._executor.retries != retries)

    def touch(self, key: str, expires_at: float) -> None:
        moment, mark = struct.pack(">d", expires_at), bytes([FORMAT])
        names = (self._keys.record(key),)
        _TOUCH.run(self._executor, "touch", key, names, moment, ttl(expires_at), mark)

    def delete(self, key: str) -> None:
        self._executor.execute("delete", key, "DEL", self._keys.record(key))

    def ping(self) -> None:
        for node in self._executor.nodes("ping"):
            node.execute("ping", None, "PING")

    def close(self) -> None:
        self._executor.close()

    def _shares_a_node(self, key: str, other: str) -> bool:
        return key == other or self._topology != "cluster"

    def _require(self, fence: Fence, key: str) -> None:
        """Raise LockLost if the mutex, which is in another slot of a cluster, is not held."""
        holder = self._executor.execute("save", key, "GET", self._keys.lock(fence.key))
        if holder != fence.number.encode():
            raise lock_lost(key)

    def _put(self, key: str, value: bytes, left: int) -> bool:
        name = self._keys.record(key)
        if left > 0:
            command = ("SET", name, value, "PX", left, "NX")
            return self._executor.execute_once("create", key, *command) is not None
        # Expired already: Redis refuses such a time to live, and there is nothing to keep.
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

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """See `KeySearch.keys_from`. The server goes through all its keys: it has no index."""
        pattern, found = self._keys.records_from(beginning), {}
        for batch in scan(self._executor, "search", pattern, _SEARCHED):
            found.update(dict.fromkeys(map(self._keys.in_braces, batch)))
            if len(found) >= limit:
                break
        return list(found)[:limit]

    def _batches(self, operation: str) -> Iterator[list[bytes]]:
        return scan(self._executor, operation, self._keys.records_pattern)
