"""How many sessions a store holds, by a count now and then: is there room for one more?"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import PerProcess
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import SessionError, TooManySessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import SessionIteration

_log = texts.log(__name__)
_SHARE = 20  # a count takes a twentieth of the time, at most
_PATIENCE = 1.0


@dataclass
class _Count:
    """A count, under way or done."""

    began_at: float
    noted: int
    done: threading.Event = field(default_factory=threading.Event)
    ended_at: float | None = None


class Census:
    """Whether a store holds `limit` sessions, asked before another one is made.

    The store is counted again once a second, or less often where that takes long (a twentieth of
    the time at most), and only while it is asked; who asks waits for a second at most. In between,
    what this process has made and ended is added. So among several processes more than `limit` may
    be made: by what the others make in one such interval. A store that cannot be counted has room.

    `clock`: seconds, from any moment on.
    """

    def __init__(
        self, iteration: SessionIteration, limit: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._iteration = iteration
        self._limit = limit
        self._clock = clock
        self._tally = PerProcess(_Tally)

    def note(self, difference: int) -> None:
        """Sessions that this process has made, or ended."""
        tally = self._tally.get()
        with tally.lock:
            tally.noted += difference

    def require_room(self) -> None:
        """Raises TooManySessions if there is no room for another session."""
        if self.is_full():
            raise TooManySessions(
                f"the store holds {self._limit} sessions, as many as `max_sessions` allows: no new "
                "one is made for a visitor who is not logged in; raise it, or shorten "
                "`anonymous_idle_lifetime`",
                operation="create",
            )

    def is_full(self) -> bool:
        """Whether there is no room for another session."""
        tally = self._tally.get()
        with tally.lock:
            count = tally.begin(self._clock())
        if count is not None:
            threading.Thread(
                target=self._run, args=(tally, count), name="wsgi_sessions.census", daemon=True
            ).start()
            count.done.wait(_PATIENCE)
        with tally.lock:
            return tally.found is not None and tally.found + tally.since >= self._limit

    def _run(self, tally: _Tally, count: _Count) -> None:
        found: int | None = None
        try:
            found = self._iteration.count()
        except SessionError as error:
            _log.warning("the sessions could not be counted: %s", error)
        except Exception:  # noqa: BLE001  # a driver's own: who asked has to go on
            _log.exception("the sessions could not be counted")
        finally:
            with tally.lock:
                tally.end(count, found, self._clock())
            count.done.set()


class _Tally:
    """What one process has counted and noted. Its lock is held by whoever uses it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.noted = 0
        self.found: int | None = None
        self._found_at_noted = 0
        self._last: _Count | None = None

    @property
    def since(self) -> int:
        """What was noted since the last count began."""
        return self.noted - self._found_at_noted

    def begin(self, now: float) -> _Count | None:
        """A count that is to be made now, by who asks; None while the last one will do."""
        last = self._last
        if last is not None:
            if last.ended_at is None:
                return None
            took = last.ended_at - last.began_at
            if now - last.ended_at < max(1.0, _SHARE * took):
                return None
        self._last = _Count(now, self.noted)
        return self._last

    def end(self, count: _Count, found: int | None, now: float) -> None:
        """Note what a count found."""
        self.found, self._found_at_noted = found, count.noted
        count.ended_at = now
