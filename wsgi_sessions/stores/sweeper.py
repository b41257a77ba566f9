"""The sweeper: one worker of all removes expired records and the remains of crashes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wsgi_sessions import texts
from wsgi_sessions.background import Background, FaultLog
from wsgi_sessions.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.upkeep import OnDeleted

CHUNK = 500
_log = texts.log(__name__)


class Sweep(NamedTuple):
    """The result of one sweep."""

    expired: int
    leftovers: dict[str, int]
    live: int | None


class LiveGauge(Protocol):
    """Shows the number of live sessions."""

    def is_count_due(self, seconds: float) -> bool:
        """Return whether they were last counted so long ago; a count may cost a scan."""

    def counted(self, live: int) -> None:
        """Show this number from now on."""


class Sweeper:
    """Sweeps a backend at the start and every `interval` seconds, in a thread of its own.

    The thread starts with the first request of each process. All processes of a store elect one of
    them for each sweep, if the store can do so. A live session is never removed: exceeding
    `max_sessions` brings the next sweep forward and is logged, nothing else. No fault ends the
    thread: it is logged once, and the next sweep is tried. A sweep counts the live sessions if
    there is a `gauge`, or a number of them that is not to be exceeded.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        interval: float,
        max_sessions: int | None = None,
        gauge: LiveGauge | None = None,
    ) -> None:
        self._backend = backend
        self._interval = interval
        self._counts_live = max_sessions is not None
        self._gauge = gauge
        self._background = Background(
            "wsgi_sessions sweeper", lambda: SweepSchedule(self, backend, interval, max_sessions)
        )
        self._told: OnDeleted | None = None
        self._trim: Callable[[], int] | None = None
        self.ensure_running = self._background.ensure_running
        """Start the thread, once in each process. Bound here: every request calls it."""

    def report_to(self, told: OnDeleted, trim: Callable[[], int]) -> None:
        """Report each deleted session, and have the traces of ended ones trimmed, from now on."""
        self._told, self._trim = told, trim

    def note_created(self) -> None:
        """Count a new session; sweep soon if there may be too many now."""
        self.rounds.note_created()

    def note_full(self) -> None:
        """Note that there is no room for a new session: sweep soon, at most once a second."""
        self.rounds.note_full()

    def close(self) -> None:
        """End the thread after its present sweep; wait for two seconds at most."""
        self._background.close()

    @property
    def rounds(self) -> SweepSchedule:
        """This process's schedule."""
        return self._background.worker()

    def sweep(self) -> Sweep:
        """Do one whole sweep now, even if another process sweeps. Raises StoreUnavailable."""
        backend = self._backend
        expired = 0
        if backend.expired is not None:
            while True:
                count = backend.expired.delete_expired(CHUNK, self._told)
                expired += count
                if count < CHUNK:
                    break
        leftovers = {} if backend.leftovers is None else backend.leftovers.remove_leftovers()
        if self._trim is not None:
            leftovers["traces"] = self._trim()
        live = self._count_live()
        return Sweep(expired, leftovers, live)

    def _count_live(self) -> int | None:
        gauge = self._gauge
        if not self._counts_live and not (gauge and gauge.is_count_due(self._interval * 0.9)):
            return None
        live = self._backend.iteration.count()
        if gauge is not None:
            gauge.counted(live)
        return live


class SweepSchedule:
    """The schedule of sweeps in one process."""

    def __init__(
        self, sweeper: Sweeper, backend: Backend, interval: float, max_sessions: int | None
    ) -> None:
        self._sweeper = sweeper
        self._backend = backend
        self._interval = interval
        self._max_sessions = max_sessions
        self._wake = threading.Event()
        self._is_stopped = False
        self._created = 0
        self._live = 0
        self._is_full = False
        self._woken_at = float("-inf")
        self._trouble = FaultLog(_log, "a sweep of the session store failed, the next one will do")

    @property
    def is_due(self) -> bool:
        """Whether the next sweep is due before its time."""
        return self._wake.is_set()

    @property
    def is_crowded(self) -> bool:
        """Whether there may be more sessions than `max_sessions`."""
        if self._max_sessions is None:
            return False
        return self._is_full or self._live + self._created > self._max_sessions

    def note_created(self) -> None:
        """See `Sweeper`."""
        self._created += 1
        if self._max_sessions is not None and self._live + self._created > self._max_sessions:
            self._wake.set()

    def note_full(self) -> None:
        """See `Sweeper`."""
        now = monotonic()
        if now - self._woken_at >= 1.0:
            self._woken_at, self._is_full = now, True
            self._wake.set()

    def run(self) -> None:
        """Sweep now and every interval, until `stop`."""
        if not self._is_stopped:
            self.advise()
        while not self._is_stopped:
            self.sweep()
            self._wake.wait(self._interval)
            self._wake.clear()

    def stop(self) -> None:
        """End after the present sweep."""
        self._is_stopped = True
        self._wake.set()

    def advise(self) -> None:
        """Log the settings that endanger sessions."""
        name = self._backend.name
        FaultLog(_log, f"the {name} store could not be examined").attempt(self._say_advice)

    def sweep(self) -> None:
        """Sweep, unless another process does, or did a short while ago."""
        self._trouble.attempt(self._sweep_in_turn)

    def _say_advice(self) -> None:
        for sentence in [] if self._backend.advice is None else self._backend.advice.warnings():
            _log.warning("session store %s: %s", self._backend.name, sentence)

    def _sweep_in_turn(self) -> None:
        if self._backend.leftovers is None:
            self._log(self._sweeper.sweep())
            return
        # Slightly less than the interval, so that the worker that swept last is not too early.
        interval = 1.0 if self.is_crowded else self._interval * 0.9
        with self._backend.leftovers.elect(interval) as elected:
            if elected:
                self._log(self._sweeper.sweep())

    def _log(self, sweep: Sweep) -> None:
        counts = {"expired": sweep.expired, **sweep.leftovers}
        level = logging.INFO if any(counts.values()) else logging.DEBUG
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        _log.log(level, "swept the session store: removed %s", text)
        if sweep.live is not None:
            self._live, self._created, self._is_full = sweep.live, 0, False
            if self.is_crowded:
                _log.warning(
                    "%d live sessions, more than `max_sessions`, %d: none is removed; "
                    "shorten the idle lifetime, or raise the number",
                    sweep.live,
                    self._max_sessions,
                )
