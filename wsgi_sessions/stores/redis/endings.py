"""Traces of ended sessions on Redis: a hash, and two sorted sets of its fields by time.

On a cluster, all of it is on one node.
"""

from __future__ import annotations

import math
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from wsgi_sessions.endings import VISITORS_SHARE, pack, unpack
from wsgi_sessions.stores.redis.wire.commands import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.endings import EndTrace
    from wsgi_sessions.stores.redis.records import Keys
    from wsgi_sessions.stores.redis.wire.commands import Executor

_PAGE = 1000
_CHUNK = 100

# KEYS: the hash, the set of users' traces, that of visitors'. ARGV: seconds to live, then for each
# trace its set (2 or 3), field, time and value. ZREM goes first because a script that has written
# once may go on when memory has run out.
_KEEP = Script("""
for i = 2, #ARGV, 4 do
  redis.call('ZREM', KEYS[5 - ARGV[i]], ARGV[i + 1])
  redis.call('ZADD', KEYS[tonumber(ARGV[i])], ARGV[i + 2], ARGV[i + 1])
  redis.call('HSET', KEYS[1], ARGV[i + 1], ARGV[i + 3])
end
for i = 1, 3 do
  redis.call('PEXPIRE', KEYS[i], ARGV[1])
end
return 1
""")

# ARGV: the time before which traces go, the most that stay, the most that go in one call.
_TRIM = Script("""
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[3])
if #old == 0 then
  local surplus = redis.call('ZCARD', KEYS[2]) - ARGV[2]
  if surplus > 0 then
    old = redis.call('ZRANGE', KEYS[2], 0, math.min(surplus, tonumber(ARGV[3])) - 1)
  end
end
for _, field in ipairs(old) do
  redis.call('ZREM', KEYS[2], field)
  redis.call('HDEL', KEYS[1], field)
end
return #old
""")


# ARGV: the first and the last rank of a page, newest first, and a text. Returns the size of the
# page, and the traces in it that have the text: to send them all would take ten times as long.
_WITH_TEXT = Script("""
local page = redis.call('ZREVRANGE', KEYS[2], ARGV[1], ARGV[2])
local found = {#page}
for _, field in ipairs(page) do
  local trace = redis.call('HGET', KEYS[1], field)
  if trace and string.find(trace, ARGV[3], 1, true) then
    found[#found + 1] = trace
  end
end
return found
""")


class RedisEndings:
    """`EndTraces` on Redis. All of them go with the last one that was kept, after its time."""

    def __init__(self, executor: Executor, keys: Keys) -> None:
        self._executor = executor
        self._names = keys.endings

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        """See `EndTraces.keep`."""
        for start in range(0, len(traces), _CHUNK):
            words: list[str | bytes | float] = [math.ceil(seconds * 1000)]
            for trace in traces[start : start + _CHUNK]:
                words += (3 if trace.user is None else 2, trace.key, trace.at, pack(trace))
            _KEEP.run(self._executor, "keep a trace", None, self._names, *words)

    def trace_of(self, key: str) -> EndTrace | None:
        """See `EndTraces.trace_of`."""
        found = self._executor.execute("trace", key, "HGET", self._names[0], key)
        return None if found is None else unpack(found)

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.matching`. Goes through the keys of all traces."""
        start = beginning.encode()
        fields = (field for name in self._names[1:] for page in self._pages(name) for field in page)
        wanted = list(islice((field for field in fields if field.startswith(start)), limit))
        return self._traces(wanted)

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.of_user`. The server goes through the traces of all users, in pages."""
        found = map(unpack, self._with_text(user))
        return list(islice((t for t in found if t is not None and t.user == user), limit))

    def _with_text(self, text: str) -> Iterator[bytes]:
        for start in count(0, _PAGE):
            span = (start, start + _PAGE - 1)
            page: list[Any] = _WITH_TEXT.run(
                self._executor, "trace", None, self._names[:2], *span, text
            )
            yield from page[1:]
            if page[0] < _PAGE:
                return

    def trim(self, before: float, most: int) -> int:
        """See `EndTraces.trim`."""
        return self._trim(1, before, most) + self._trim(2, before, most // VISITORS_SHARE)

    def _trim(self, number: int, before: float, most: int) -> int:
        names, removed = (self._names[0], self._names[number]), 0
        while True:
            gone: int = _TRIM.run(self._executor, "trim traces", None, names, before, most, _PAGE)
            removed += gone
            if gone == 0:
                return removed

    def _pages(self, name: str) -> Iterator[list[bytes]]:
        """Yield the fields in a sorted set, newest first."""
        for start in count(0, _PAGE):
            span = (start, start + _PAGE - 1)
            page: list[bytes] = self._executor.execute("trace", None, "ZREVRANGE", name, *span)
            yield page
            if len(page) < _PAGE:
                return

    def _traces(self, fields: list[bytes]) -> list[EndTrace]:
        if not fields:
            return []
        values = self._executor.execute("trace", None, "HMGET", self._names[0], *fields)
        found = (None if value is None else unpack(value) for value in values)
        return [trace for trace in found if trace is not None]
