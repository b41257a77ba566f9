"""One mutex per session, on Redis."""

from __future__ import annotations

import logging
import math
import random
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.redis.connection import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.stores.redis.connection import Executor
    from wsgi_sessions.stores.redis.records import Keys

_log = logging.getLogger("wsgi_sessions.stores.redis")

# Taking what one has already is a success: the reply to a first attempt may have been lost.
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


class RedisLocks:
    """`SessionLocks`: a key with a random token, taken if absent, freed by its holder alone.

    The server frees it after `ttl` seconds, so a block that takes longer no longer keeps others
    out; so does a failover of the server. Both are logged when the block ends.
    """

    def __init__(
        self,
        executor: Executor,
        keys: Keys,
        ttl: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._keys = keys
        self._ttl = math.ceil(ttl * 1000)
        self._clock = clock

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[None]:
        token = secrets.token_hex(16)
        try:
            self._acquire(key, token, timeout)
        except StoreUnavailable:
            # If the server took the lock for us and could not say so, its time to live frees it.
            raise
        except BaseException:
            # Interrupted (gevent.Timeout, SystemExit), perhaps between the taking and the reply.
            self._free(key, token)
            raise
        try:
            yield
        finally:
            self._release(key, token)

    def _acquire(self, key: str, token: str, timeout: float) -> None:
        deadline = self._clock() + timeout
        while not self._take(key, token):
            left = deadline - self._clock()
            if left <= 0:
                raise LockTimeout(
                    f"the lock of session {short_key(key)} was held by another request for "
                    f"{timeout:g} s; try again",
                    operation="lock",
                    key=short_key(key),
                )
            # Jitter keeps those who wait from asking in step.
            time.sleep(min(left, random.uniform(0.005, 0.02)))  # noqa: S311 - nothing secret

    def _take(self, key: str, token: str) -> bool:
        names = (self._keys.lock(key),)
        return bool(_TAKE.run(self._executor, "lock", key, names, token, self._ttl))

    def _free(self, key: str, token: str) -> bool:
        return bool(_FREE.run(self._executor, "unlock", key, (self._keys.lock(key),), token))

    def _release(self, key: str, token: str) -> None:
        """Never raises for a fault: what the block did is done, and the lock expires by itself."""
        try:
            freed = self._free(key, token)
        except StoreUnavailable as error:
            _log.warning("the lock of session %s stays until it expires: %s", short_key(key), error)
            return
        if not freed:
            _log.warning(
                "the lock of session %s was lost before its block ended: another request may have "
                "run at the same time; the block took longer than %g s, or the server failed over",
                short_key(key),
                self._ttl / 1000,
            )
