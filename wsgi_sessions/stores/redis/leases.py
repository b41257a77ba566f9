"""Leases on Redis: holders in a sorted set by expiry, and the claim beside it.

All times are the server's own (TIME, inside of the scripts), so that workers whose clocks disagree
neither lose a lease nor keep one for longer. Every script that reads the holders first removes the
expired ones; the whole set expires with its last one.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.contract import LeaseInfo
from wsgi_sessions.errors import CorruptRecord, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.redis.records import decode
from wsgi_sessions.stores.redis.wire.commands import Script, scan
from wsgi_sessions.stores.redis.wire.faults import takes_no_writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Record, Role, SessionStore
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor

_log = texts.log(__name__)

# KEYS: the holders, the claim. ARGV: the holder, its ttl in milliseconds.
_LIBRARY = """
local holders, claim, holder, ttl = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function purge()
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
end
local function hold()
  redis.call('ZADD', holders, now + ttl, holder)
  if redis.call('PTTL', holders) < ttl then redis.call('PEXPIRE', holders, ttl) end
end
local function acquire()
  if redis.call('EXISTS', claim) == 1 then return 0 end
  purge()
  hold()
  return 1
end
"""

_ACQUIRE = Script(f"{_LIBRARY} return acquire()")

# KEYS[3]: the record.
_LOAD_AND_ACQUIRE = Script(f"""{_LIBRARY}
local record = redis.call('GET', KEYS[3])
if not record then return {{false, 0}} end
return {{record, acquire()}}
""")

_RENEW = Script(f"""{_LIBRARY}
purge()
if redis.call('ZSCORE', holders, holder) then
  hold()
  return 1
end
if redis.call('GET', claim) ~= holder then return 0 end
return redis.call('PEXPIRE', claim, ttl)
""")

_RELEASE = Script("""
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
""")

_COUNT = Script(f"""{_LIBRARY}
return redis.call('ZCOUNT', holders, string.format('(%.0f', now), '+inf')
""")

# The holders, each followed by its remaining milliseconds.
_LIST_HOLDERS = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local after = string.format('(%.0f', now)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES')
for i = 2, #found, 2 do found[i] = tonumber(found[i]) - now end
return found
""")

# The claimant, likewise.
_LIST_CLAIM = Script("""
local holder = redis.call('GET', KEYS[1])
return holder and {holder, redis.call('PTTL', KEYS[1])} or {}
""")

# A repeated claim is a success: the first reply may have been lost.
_CLAIM = Script(f"""{_LIBRARY}
purge()
if redis.call('EXISTS', holders) == 1 then return 0 end
local other = redis.call('GET', claim)
if other and other ~= holder then return 0 end
redis.call('SET', claim, holder, 'PX', ttl)
return 1
""")


class RedisLeases:
    """`LeaseStore`, `LeasedLoading` and `LeaseListing` on Redis.

    Not promised: that leases survive a failover. A holder finds out at its next renewal, and
    acquires again.
    """

    def __init__(self, executor: Executor, keys: Keys, sessions: SessionStore) -> None:
        self._executor = executor
        self._keys = keys
        self._sessions = sessions

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        return bool(self._run(_ACQUIRE, "acquire", key, holder, ttl))

    def load_and_acquire(self, key: str, holder: str, ttl: float) -> tuple[Record | None, bool]:
        """See `LeasedLoading`. While the server takes no writes, it only loads the session."""
        names = (*self._names(key), self._keys.record(key))
        try:
            value, acquired = _LOAD_AND_ACQUIRE.run(
                self._executor, "load", key, names, holder, _milliseconds(ttl)
            )
        except StoreUnavailable as error:
            if not takes_no_writes(error):
                raise
            _log.warning("session %s is used without a lease: %s", short_key(key), error)
            return self._sessions.load(key), True  # as good as held: the next renewal tries again
        return self._record(key, value), acquired == 1

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        return bool(self._run(_RENEW, "renew", key, holder, ttl))

    def release(self, key: str, holder: str) -> None:
        _RELEASE.run(self._executor, "release", key, self._names(key), holder)

    def holders(self, key: str) -> int:
        return int(self._run(_COUNT, "holders", key, "", 0.0))

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        return bool(self._run(_CLAIM, "claim", key, holder, ttl))

    def leases(self) -> Iterator[LeaseInfo]:
        """See `LeaseListing.leases`. One may come twice while the server resizes its table."""
        return chain(
            self._listed("holder", self._keys.holders, _LIST_HOLDERS),
            self._listed("claim", self._keys.claim, _LIST_CLAIM),
        )

    def _listed(
        self, role: Role, name_of: Callable[[str], str], look: Script
    ) -> Iterator[LeaseInfo]:
        for batch in scan(self._executor, "leases", self._keys.pattern(name_of)):
            for name in batch:
                key = self._keys.in_braces(name)
                words = iter(look.run(self._executor, "leases", key, (name_of(key),)))
                for holder, left in zip(words, words, strict=True):
                    yield LeaseInfo(key, role, holder.decode("utf-8", "replace"), left / 1000)

    def _run(self, script: Script, operation: str, key: str, holder: str, ttl: float) -> int:
        names = self._names(key)
        reply = script.run(self._executor, operation, key, names, holder, _milliseconds(ttl))
        return int(reply)

    def _names(self, key: str) -> tuple[str, str]:
        return self._keys.holders(key), self._keys.claim(key)

    def _record(self, key: str, value: bytes | None) -> Record | None:
        try:
            return None if value is None else decode(key, value)
        except CorruptRecord:
            return self._sessions.load(key)  # this sets it aside


def _milliseconds(ttl: float) -> int:
    return math.ceil(ttl * 1000)
