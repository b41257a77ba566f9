"""Turns: callers of one process with the same wish ask a server one at a time."""

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
    """A queue per key, within this process.

    Fifty threads that poll a server for one lock would keep it too busy to serve the lock's holder.
    The queue does not promise mutual exclusion; that is the server's. Thread-safe, also with
    gevent's threads, and empty in a forked child.
    """

    def __init__(self) -> None:
        self._queues = PerProcess(_Queues)

    @property
    def lengths(self) -> dict[str, int]:
        """Return the number of callers that have or await their turn in this process, by key."""
        return {key: queue.length for key, queue in self._queues.get().queues.copy().items()}

    @contextmanager
    def turn(self, key: str, timeout: float) -> Iterator[bool]:
        """Be the first of the callers that wait for `key`, for the time of the block.

        False: others were first for all of `timeout` seconds. If the block of the first raises
        StoreUnavailable, it is raised to all callers behind it, too: a hung server must not cost
        each of them a deadline, one after the other.
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
    """The queues of one process."""

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
        """Start a new queue: later callers have not waited, and ask the server again."""
        queue.fault = error
        with self._guard:
            if self.queues.get(key) is queue:
                del self.queues[key]
