"""A circuit breaker, which each store puts in front of its server."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

NOT_ASKED = "has not answered, and is not asked again for a second"
"""The sentence about a server when the breaker refuses an operation; the cause follows."""
_log = texts.log(__name__)


class CircuitOpen(Exception):
    """The breaker refused an operation. The text names the faults that opened it."""


class Breaker:
    """Spares callers the wait for a server that is known not to answer.

    After `threshold` operations in a row without an answer it opens: for `pause` seconds every
    other operation fails at once. Then one operation at a time passes as a probe; an answer closes
    the breaker, a silence keeps it open for another `pause`. Any answer counts, errors too. A
    caller that comes during the probe waits for it, for at most `patience` seconds: a server that
    is back answers at once, and no caller need be refused.

    Thread-safe. `server` is its name in the log, `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        server: str,
        *,
        threshold: int = 3,
        pause: float = 1.0,
        patience: float = 0.1,
        clock: Callable[[], float] = monotonic,
        log: logging.Logger = _log,
    ) -> None:
        self._server = server
        self._log = log
        self._threshold = threshold
        self._pause = pause
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._probing = False
        self._last = ""
        self.failures = 0
        self.closed = True

    @contextmanager
    def probe(self) -> Iterator[None]:
        """Be the probe, or follow it. Raises `CircuitOpen` while it is too early."""
        deadline = monotonic() + self._patience
        while not self._may_go():
            if monotonic() >= deadline:
                raise CircuitOpen(f"{self.failures} operations in a row failed: {self._last}")
            time.sleep(0.002)
        try:
            yield
        finally:
            # Also after an interrupted probe, which is neither success nor failure.
            self._probing = False

    def _may_go(self) -> bool:
        """Return whether this caller may use the server. Raises `CircuitOpen` if it must not."""
        with self._lock:
            if self.closed:
                return True
            if self._clock() < self._retry_at:
                raise CircuitOpen(f"{self.failures} operations in a row failed: {self._last}")
            if self._probing:
                return False
            self._probing = True
            return True

    def answered(self) -> None:
        """Note that the server answered."""
        if not self.failures:
            return
        with self._lock:
            reopened, self.closed, self.failures = not self.closed, True, 0
        if reopened:
            self._log.info("%s answers again", self._server)

    def unanswered(self, why: str) -> None:
        """Note an operation that, with its retry, got no answer."""
        with self._lock:
            self.failures += 1
            self._last = why
            opened = self.closed and self.failures >= self._threshold
            if self.failures >= self._threshold:
                self.closed = False
                self._retry_at = self._clock() + self._pause
        if opened:
            self._log.warning(
                "%s: %s; operations fail at once until it answers again",
                self._server,
                why,
            )
