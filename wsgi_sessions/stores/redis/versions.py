"""Version stamps on Redis: one hash of all scopes, and a short list of bumps for each.

They have no time to live. A failover may lose an acknowledged bump, as any write (see `redis`):
bump again after one, or keep the stamps in the database that they are about (`database.bump`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.contract import Bump
from wsgi_sessions.stores.redis.wire.commands import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor

_HISTORY = 100

# By the server's clock. If the reply is lost, it runs twice and the version grows by two: it still
# only grows.
_BUMP = Script("""
local time = redis.call('TIME')
local version = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
if version < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  version = tonumber(ARGV[3])
end
redis.call('LPUSH', KEYS[2], string.format('%.0f %s.%06d', version, time[1], time[2]))
redis.call('LTRIM', KEYS[2], 0, ARGV[2] - 1)
return version
""")


class RedisVersions:
    """`VersionStamps` for all that share the server and the key prefix."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._keys = keys

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """See `VersionStamps.current`. One round trip."""
        if not scopes:
            return {}
        fields = [texts.as_bytes(scope) for scope in scopes]
        found = self._executor.execute("versions", None, "HMGET", self._keys.versions, *fields)
        return {scope: int(value or 0) for scope, value in zip(scopes, found, strict=True)}

    def bump(self, scope: str, *, least: int = 0) -> int:
        """See `VersionStamps.bump`. One round trip."""
        names = (self._keys.versions, self._keys.bumps(scope))
        arguments = (texts.as_bytes(scope), _HISTORY, least)
        return int(_BUMP.run(self._executor, "bump", None, names, *arguments))

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """See `VersionStamps.history`. The latest 100 are kept."""
        if limit < 1:
            return []
        name = self._keys.bumps(scope)
        found = self._executor.execute("versions", None, "LRANGE", name, 0, limit - 1)
        return [Bump(int(version), float(at)) for version, at in map(bytes.split, found)]
