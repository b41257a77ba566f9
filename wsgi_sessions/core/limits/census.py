"""The census of a store: a count now and then tells whether there is room for one more session."""

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
_SHARE = 20  # counts take a twentieth of the time, at most
_PATIENCE = 1.0


@dataclass
class _Count:
    """A count, under way or done."""

    began_at: float
    noted: int
    done: threading.Event = field(default_factory=threading.Event)
    ended_at: float | None = None


class Census:
    """A check, before a session is made, that the store holds fewer than `limit`.

    The store is counted at most once a second, less often where a count takes long (a twentieth of
    the time at most), and only while requests ask; a request waits for a second at most. In
    between, the sessions that this process made and ended are added. So several processes together
    may exceed `limit` by what the others make in one such interval. A store that cannot be counted
    has room.

    `clock`: seconds, from any moment.
    """

    def __init__(
        self, iteration: SessionIteration, limit: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._iteration = iteration
        self._limit = limit
        self._clock = clock
        self._tally = PerProcess(_Tally)

    def note(self, difference: int) -> None:
        """Note the number of sessions that this process has made, or ended."""
        tally = self._tally.get()
        with tally.lock:
            tally.noted += difference

    def require_room(self) -> None:
        """Raise TooManySessions if there is no room for another session."""
        if self.is_full():
            raise TooManySessions(
                f"the store holds {self._limit} sessions, as many as `max_sessions` allows: no new "
                "one is made for a visitor who is not logged in; raise it, or shorten "
                "`anonymous_idle_lifetime`",
                operation="create",
            )

    def is_full(self) -> bool:
        """Return whether there is no room for another session."""
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
    """The counts and notes of one process. Callers hold its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.noted = 0
        self.found: int | None = None
        self._found_at_noted = 0
        self._last: _Count | None = None

    @property
    def since(self) -> int:
        """The sum of the notes since the last count began."""
        return self.noted - self._found_at_noted

    def begin(self, now: float) -> _Count | None:
        """Return a count for the caller to make now; None while the last one is recent enough."""
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
        """Note the result of a count."""
        self.found, self._found_at_noted = found, count.noted
        count.ended_at = now
