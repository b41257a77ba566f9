"""One mutex per session, from a store's two steps: take for a while, and free what is one's own."""

from __future__ import annotations

import random
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import LockTimeout, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_TTL = 30.0
_LONGEST_PAUSE = 0.01

_log = texts.log("wsgi_sessions.stores")


class TokenHolds(Protocol):
    """Each atomic on the server, by whose clock what was taken is free again after `ttl` seconds.

    Both raise StoreUnavailable; then nobody knows whether it was done.
    """

    ttl: float

    def take(self, key: str, token: str) -> bool:
        """Take it unless another token has it. Whether this token has it now: taking what one has
        already is a success, since the answer to a first attempt may have been lost."""
        ...

    def free(self, key: str, token: str) -> bool:
        """Free it if this token has it. Whether it had."""
        ...


class TokenLocks:
    """`SessionLocks`: taken with a random token, freed by its holder alone.

    Of those in one process who wait for the same session, one asks the server.

    A block that takes longer than the time to live no longer keeps others out. That is logged when
    the block ends.
    """

    def __init__(self, holds: TokenHolds, clock: Callable[[], float] = monotonic) -> None:
        self._holds = holds
        self._clock = clock
        self._turns = Turns()

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
            with suppress(StoreUnavailable):  # then, too, it expires
                self._holds.free(key, token)
            raise
        try:
            yield
        finally:
            self._release(key, token)

    def _acquire(self, key: str, token: str, timeout: float) -> None:
        deadline = self._clock() + timeout
        with self._turns.turn(key, timeout) as is_first:
            if is_first and self._poll(key, token, deadline):
                return
        raise LockTimeout(
            f"the lock of session {short_key(key)} was held by another request for "
            f"{timeout:g} s; try again",
            operation="lock",
            key=short_key(key),
        )

    def _poll(self, key: str, token: str, deadline: float) -> bool:
        """Ask until it is taken, or until the deadline. Whether it is."""
        pause = 0.0
        while not self._holds.take(key, token):
            left = deadline - self._clock()
            if left <= 0:
                return False
            # Soon at first: among many short blocks it is free in a moment. Jitter keeps processes
            # from asking in step.
            pause = min(_LONGEST_PAUSE, pause + 0.002)
            time.sleep(min(left, random.uniform(pause / 2, pause)))  # noqa: S311 - nothing secret
        return True

    def _release(self, key: str, token: str) -> None:
        """Never raises for a fault: what the block did is done, and the lock expires by itself."""
        try:
            freed = self._holds.free(key, token)
        except StoreUnavailable as error:
            _log.warning("the lock of session %s stays until it expires: %s", short_key(key), error)
            return
        if not freed:
            _log.warning(
                "the lock of session %s was lost before its block ended: another request may have "
                "run at the same time; the block took longer than %g s, or the server failed over "
                "or did not answer",
                short_key(key),
                self._holds.ttl,
            )
