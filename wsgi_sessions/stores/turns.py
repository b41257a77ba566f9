"""Who wants the same thing in one process asks a server for it one at a time."""

from __future__ import annotations

import copy
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.background import PerProcess
from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Queue:
    __slots__ = ("fault", "front", "length")

    def __init__(self) -> None:
        self.front = threading.Lock()
        self.length = 0
        self.fault: StoreUnavailable | None = None


class Turns:
    """A queue per key, within this process: fifty threads that poll a server for one lock would
    keep it too busy to serve the one that has the lock.

    No mutual exclusion is promised by it; that is the server's. Thread-safe, also with gevent's
    threads, and empty in a forked child.
    """

    def __init__(self) -> None:
        self._queues = PerProcess(_Queues)

    @property
    def lengths(self) -> dict[str, int]:
        """How many have or await their turn in this process, by key."""
        return {key: queue.length for key, queue in self._queues.get().queues.copy().items()}

    @contextmanager
    def turn(self, key: str, timeout: float) -> Iterator[bool]:
        """Be the first of those who wait for `key`, for as long as the block takes.

        False: others were before it for all of `timeout` seconds. A StoreUnavailable that the block
        of the first raises is raised to all who wait behind it, too: a server that hangs must not
        cost them a deadline each, one after the other.
        """
        queues = self._queues.get()
        queue = queues.join(key)
        try:
            if not queue.front.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
                yield False
                return
            try:
                if queue.fault is not None:
                    raise copy.copy(queue.fault) from queue.fault.__cause__
                yield True
            except StoreUnavailable as error:
                queues.dissolve(key, queue, error)
                raise
            finally:
                queue.front.release()
        finally:
            queues.leave(key, queue)


class _Queues:
    """Those of one process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.queues: dict[str, _Queue] = {}

    def join(self, key: str) -> _Queue:
        with self._guard:
            queue = self.queues.setdefault(key, _Queue())
            queue.length += 1
            return queue

    def leave(self, key: str, queue: _Queue) -> None:
        with self._guard:
            queue.length -= 1
            if not queue.length and self.queues.get(key) is queue:
                del self.queues[key]

    def dissolve(self, key: str, queue: _Queue, error: StoreUnavailable) -> None:
        """Who comes from now on has not waited, and asks the server afresh."""
        queue.fault = error
        with self._guard:
            if self.queues.get(key) is queue:
                del self.queues[key]
