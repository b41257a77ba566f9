"""Damaged records, set aside on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.redis.records import STAMP_SIZE, stamp
from wsgi_sessions.stores.redis.wire.commands import Script

if TYPE_CHECKING:
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor
    from wsgi_sessions.upkeep import OnSetAside

_log = texts.log(__name__)

KEPT_SECONDS = 7 * 86400
KEPT_RECORDS = 100

# The first nine bytes identify the version, or whatever else was found there.
_MOVE = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('GETRANGE', KEYS[1], 0, 8) ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
""")

# Returns the surplus keys, oldest first.
_REGISTER = Script("""
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1] - ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local surplus = redis.call('ZCARD', KEYS[1]) - ARGV[4]
local dropped = {}
if surplus > 0 then
  dropped = redis.call('ZRANGE', KEYS[1], 0, surplus - 1)
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1)
end
return dropped
""")


class RedisQuarantine:
    """`Quarantine`: a damaged record is renamed and kept for 7 days; the newest 100 are kept.

    A register beside them holds their keys, so that neither the bound nor the count costs a scan.
    It is written after the move: after a crash between the two, the record is not counted, and
    expires.
    """

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys
        self._told: OnSetAside | None = None

    def report_to(self, told: OnSetAside) -> None:
        self._told = told

    def set_aside(self, key: str, version: int, reason: str) -> None:
        self._move(key, stamp(version), reason)

    def set_aside_value(self, key: str, value: bytes, reason: str) -> None:
        """Move the value under `key`, which is not a record, if it still begins like `value`."""
        if self._move(key, value[:STAMP_SIZE], reason) and self._told is not None:
            self._told(key, reason)

    def quarantined(self) -> int:
        oldest = wall_clock() - KEPT_SECONDS
        count: int = self._executor.execute(
            "quarantine", None, "ZCOUNT", self._keys.quarantine, oldest, "+inf"
        )
        return count

    def _move(self, key: str, beginning: bytes, reason: str) -> bool:
        names = (self._keys.record(key), self._keys.set_aside(key))
        if not _MOVE.run(self._executor, "quarantine", key, names, beginning, KEPT_SECONDS):
            return False
        _log.warning(
            "session %s: %s; it was set aside and counts as absent", short_key(key), reason
        )
        self._register(key)
        return True

    def _register(self, key: str) -> None:
        names = (self._keys.quarantine,)
        dropped: list[bytes] = _REGISTER.run(
            self._executor, "quarantine", key, names, wall_clock(), key, KEPT_SECONDS, KEPT_RECORDS
        )
        for old in dropped:
            name = self._keys.set_aside(old.decode())
            self._executor.execute("quarantine", key, "DEL", name)
