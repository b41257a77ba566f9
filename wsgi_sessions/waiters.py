"""How many requests of one process may wait for one session: a bound, so that one client cannot
keep every worker waiting."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.errors import LockTimeout, TooManyWaiting
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.base import SessionLocks

MOST_WAITERS = 2


class Waiters:
    """Places to wait in, at most `most` for each session key in this process.

    Thread-safe, also with gevent's threads, and empty in a forked child.
    """

    def __init__(self, most: int = MOST_WAITERS) -> None:
        self.most = most
        self._guard = threading.Lock()
        self._waiting: dict[str, int] = {}
        self._pid = os.getpid()

    @contextmanager
    def place(self, key: str) -> Iterator[bool]:
        """Take a place for as long as the block takes; False: all are taken."""
        has_place = self._enter(key)
        try:
            yield has_place
        finally:
            if has_place:
                self._leave(key)

    def _enter(self, key: str) -> bool:
        if self._pid != os.getpid():
            # A thread of the parent may wait, or hold the guard, and never leave it here.
            self._guard, self._waiting, self._pid = threading.Lock(), {}, os.getpid()
        with self._guard:
            count = self._waiting.get(key, 0)
            if count >= self.most:
                return False
            self._waiting[key] = count + 1
            return True

    def _leave(self, key: str) -> None:
        with self._guard:
            count = self._waiting.get(key, 0) - 1
            if count > 0:
                self._waiting[key] = count
            else:
                self._waiting.pop(key, None)


class BoundedLocks:
    """`SessionLocks` in which a bounded number of this process' requests wait for each session.

    A lock that is free is taken without a place to wait in.
    """

    def __init__(self, locks: SessionLocks, most: int = MOST_WAITERS) -> None:
        self._locks = locks
        self._waiters = Waiters(most)

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[None]:
        """Hold the mutex while in the context.

        Raises LockTimeout after `timeout` seconds, and TooManyWaiting at once if the lock is not
        free, and others wait already, as many as may.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self._locks.hold(key, 0.0))
            except LockTimeout:
                if timeout <= 0:
                    raise
                self._wait(held, key, timeout)
            yield

    def _wait(self, held: ExitStack, key: str, timeout: float) -> None:
        with self._waiters.place(key) as has_place:
            if not has_place:
                raise TooManyWaiting(
                    f"session {short_key(key)} is held by another request, and "
                    f"{self._waiters.most} wait for it in this process already: try again later, "
                    "hold it for shorter, or raise WSGI_SESSIONS_EXCLUSIVE_WAITERS",
                    operation="lock",
                    key=short_key(key),
                )
            held.enter_context(self._locks.hold(key, timeout))
