"""The mutex of a session, among the threads of this process."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.identity import short_key
from wsgi_sessions.mutex import Held

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryLocks:
    """A mutex per key, among the threads of this process."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, key: str, timeout: float) -> Iterator[Held]:
        """See `SessionLocks.hold`."""
        deadline = monotonic() + timeout
        while not self._try(key):
            if monotonic() >= deadline:
                raise LockTimeout(
                    f"session {short_key(key)} is held by another request for over {timeout} s",
                    operation="lock",
                    key=short_key(key),
                )
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311  # spreads waiters, no secret
        try:
            yield Held()
        finally:
            self._held.discard(key)

    def _try(self, key: str) -> bool:
        with self._lock:
            if key in self._held:
                return False
            self._held.add(key)
            return True
