"""A throttle for work that this process did a short while ago and need not repeat yet."""

from __future__ import annotations

from contextlib import suppress


class Throttle:
    """The times when each of the latest `most` keys is due again.

    Thread-safe as far as it matters: of two calls that race, both may be due.
    """

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._next: dict[str, float] = {}

    def is_due(self, key: str, now: float, seconds: float) -> bool:
        """Return whether the key is due; if so, it is not due again for so many seconds.

        It is due at once if the clock that `now` is read from was set back.
        """
        if now < self._next.get(key, now) <= now + seconds:
            return False
        self._next.pop(key, None)  # moves it to the end
        while len(self._next) >= self._most:
            with suppress(KeyError, StopIteration, RuntimeError):  # other threads do the same
                del self._next[next(iter(self._next))]
        self._next[key] = now + seconds
        return True
