"""A clock that tests move forward."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MovedClock:
    """``time.time`` of this process, moved forward until `restore`.

    All lifetimes go by it, and so does application code that calls ``time.time()``; not so
    ``datetime.now()``, deadlines and waits. It builds on `freezegun` or `time-machine` if one of
    them is active.
    """

    def __init__(self) -> None:
        self._real: Callable[[], float] | None = None
        self._offset = 0.0

    def advance(self, seconds: float) -> None:
        """Move it forward by `seconds` more."""
        if self._real is None:
            self._real = time.time
            time.time = self._now
        self._offset += seconds

    def restore(self) -> None:
        """Put the former clock back."""
        if self._real is not None:
            time.time = self._real
        self._real, self._offset = None, 0.0

    def _now(self) -> float:
        assert self._real is not None
        return self._real() + self._offset
