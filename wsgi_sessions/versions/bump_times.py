"""The time of the first bump that a session missed, as stores and processes know it. No WSGI."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Bump

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    AskHistory = Callable[[str, int], Sequence[Bump] | None]

_HISTORY = 100  # bumps of a scope, as the stores keep them
_MAX_SCOPES = 10_000
_LONGEST_LOADER = 600.0


class BumpTimes:
    """Times of bumps, in seconds since the epoch, from two sources; the earlier time counts.

    The store's history (`ask(scope, limit)`, None if the store has none) is asked once for each
    version, when a session turns out to be stale. In SQL it holds the latest bump alone, by the
    database's clock. So each process also notes when it learned of a version: neither a series of
    bumps nor a clock that is ahead prolongs anything.
    """

    def __init__(self, ask: AskHistory, wall: Callable[[], float] = wall_clock) -> None:
        self._ask = ask
        self.wall = wall
        self._seen: dict[str, tuple[Bump, ...]] = {}
        self._histories: dict[str, tuple[int, Sequence[Bump]]] = {}
        self._lock = threading.Lock()

    def note_current(self, scope: str, version: int) -> None:
        """Note that a version is current, and was not at the previous look-up."""
        with self._lock:
            if len(self._seen) > _MAX_SCOPES:
                self._seen.clear()
            seen = (*self._seen.get(scope, ()), Bump(version, self.wall()))
            # If there are too many, every other one goes: the next one stands for it. So the span
            # stays, even with frequent bumps.
            self._seen[scope] = seen if len(seen) <= _HISTORY else (*seen[:-1:2], seen[-1])

    def missed_since(self, scope: str, stamp: int, version: int) -> float:
        """Return the time of the first bump after `stamp`; `version` is current."""
        bumps = (*self._seen.get(scope, ()), *(self._history(scope, version) or ()))
        return min((bump.at for bump in bumps if bump.version > stamp), default=self.wall())

    def came_after(self, begun: float, scope: str, version: int) -> bool:
        """Return whether a bump is known to have come after a moment."""
        return any(bump.at > begun for bump in self._history(scope, version) or ())

    def may_overlap(self, begun: float, scope: str, version: int) -> bool:
        """Return whether the latest bump may have come during a log-in that had ended at `begun`.

        In SQL the time is that of the start of a transaction, which may be committed long after. So
        it may if it was within ten minutes before, or if the history does not tell.
        """
        history = self._history(scope, version)
        return history is None or any(bump.at > begun - _LONGEST_LOADER for bump in history)

    def _history(self, scope: str, version: int) -> Sequence[Bump] | None:
        known = self._histories.get(scope)
        if known is not None and known[0] == version:
            return known[1]
        bumps = self._ask(scope, _HISTORY)
        if not bumps:  # unknown: there is a version, but no bump
            return None
        if len(bumps) == _HISTORY:  # there may be earlier ones: of any time
            bumps = [*bumps[:-1], bumps[-1]._replace(at=0.0)]
        with self._lock:
            if len(self._histories) > _MAX_SCOPES:
                self._histories.clear()
            self._histories[scope] = version, bumps
        return bumps
