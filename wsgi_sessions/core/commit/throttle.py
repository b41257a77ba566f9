"""What this process did lately, and need not do again for a while."""

from __future__ import annotations

from contextlib import suppress


class Throttle:
    """When each key comes next, of the `most` that came last. Thread-safe as far as it matters: of
    two that race, both may come."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._next: dict[str, float] = {}

    def is_due(self, key: str, now: float, seconds: float) -> bool:
        """Whether the key's time has come; then not again for so many seconds, unless the clock
        that `now` is read from is set back."""
        if now < self._next.get(key, now) <= now + seconds:
            return False
        self._next.pop(key, None)  # to the end, as the last one
        while len(self._next) >= self._most:
            with suppress(KeyError, StopIteration, RuntimeError):  # other threads do the same
                del self._next[next(iter(self._next))]
        self._next[key] = now + seconds
        return True
