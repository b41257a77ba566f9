"""Waiting requests: a bound per session, so that one client cannot keep every worker waiting."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.background import PerProcess
from wsgi_sessions.core.events import Events
from wsgi_sessions.errors import LockTimeout, TooManyWaiting
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.mutex import Held, SessionLocks

MOST_WAITERS = 2


class Waiters:
    """Places to wait in, at most `most` for each session key in this process.

    Thread-safe, also with gevent's threads, and empty in a forked child.
    """

    def __init__(self, most: int = MOST_WAITERS) -> None:
        self.most = most
        self._places = PerProcess(_Places)

    @property
    def waiting(self) -> dict[str, int]:
        """Return the number of places taken in this process, by session key."""
        return dict(self._places.get().taken)

    @contextmanager
    def place(self, key: str) -> Iterator[bool]:
        """Take a place for the time of the block; yields False if all are taken."""
        places = self._places.get()
        has_place = places.enter(key, self.most)
        try:
            yield has_place
        finally:
            if has_place:
                places.leave(key)


class _Places:
    """The places taken in one process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.taken: dict[str, int] = {}

    def enter(self, key: str, most: int) -> bool:
        with self._guard:
            count = self.taken.get(key, 0)
            if count >= most:
                return False
            self.taken[key] = count + 1
            return True

    def leave(self, key: str) -> None:
        with self._guard:
            count = self.taken.get(key, 0) - 1
            if count > 0:
                self.taken[key] = count
            else:
                self.taken.pop(key, None)


class BoundedLocks:
    """`SessionLocks` in which a bounded number of this process' requests wait for each session.

    A free lock is taken without a place to wait in. A lost lock is reported.
    """

    def __init__(
        self, locks: SessionLocks, most: int = MOST_WAITERS, events: Events | None = None
    ) -> None:
        self._locks = locks
        self._events = events or Events()
        self.waiters = Waiters(most)

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        """Hold the mutex while in the context.

        Raises LockTimeout after `timeout` seconds, and TooManyWaiting at once if the lock is held
        and all places are taken.
        """
        lock: Held | None = None
        try:
            with ExitStack() as held:
                try:
                    lock = held.enter_context(self._locks.hold(key, 0.0))
                except LockTimeout:
                    if timeout <= 0:
                        raise
                    lock = self._wait(held, key, timeout)
                yield lock
        finally:
            if lock is not None and lock.was_lost:
                self._events.emit("lock-lost", short_key(key))

    def _wait(self, held: ExitStack, key: str, timeout: float) -> Held:
        with self.waiters.place(key) as has_place:
            if not has_place:
                raise TooManyWaiting(
                    f"session {short_key(key)} is held by another request, and "
                    f"{self.waiters.most} wait for it in this process already: try again later, "
                    "hold it for shorter, or raise `exclusive_waiters`",
                    operation="lock",
                    key=short_key(key),
                )
            return held.enter_context(self._locks.hold(key, timeout))
