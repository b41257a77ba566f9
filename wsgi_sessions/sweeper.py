"""The sweeper: one worker of all removes what has expired and what crashes left behind."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.stores.base import Backend

CHUNK = 500
_log = texts.log("wsgi_sessions.sweeper")


class Sweep(NamedTuple):
    """What one sweep did."""

    expired: int
    leftovers: dict[str, int]
    live: int | None


class Sweeper:
    """Sweeps a backend at the start and every `interval` seconds, in a thread of its own.

    The thread starts with the first request of each process, so that it survives gunicorn's fork,
    and all processes of a file store elect one of them for each sweep. A live session is never
    removed: with `max_sessions`, exceeding it brings the next sweep forward and is logged, nothing
    else.
    """

    def __init__(
        self, backend: Backend, *, interval: float, max_sessions: int | None = None
    ) -> None:
        self._backend = backend
        self._interval = interval
        self._max_sessions = max_sessions
        self._pid: int | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._created = 0
        self._live = 0

    def ensure_running(self) -> None:
        """Start the thread, once in each process."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._run, name="wsgi_sessions", daemon=True).start()

    def note_created(self) -> None:
        """Count a new session; if there may be too many now, sweep soon."""
        self._created += 1
        if self._max_sessions is not None and self._live + self._created > self._max_sessions:
            self._wake.set()

    def stop(self) -> None:
        """End the thread after the sweep it is in."""
        self._stopped.set()
        self._wake.set()

    def sweep(self) -> Sweep:
        """One whole sweep, now, whoever else sweeps. Raises StoreUnavailable."""
        backend = self._backend
        expired = 0
        if backend.expired is not None:
            while True:
                count = backend.expired.delete_expired(CHUNK)
                expired += count
                if count < CHUNK:
                    break
        leftovers = {} if backend.leftovers is None else backend.leftovers.remove_leftovers()
        live = None if self._max_sessions is None else backend.iteration.count()
        return Sweep(expired, leftovers, live)

    def _run(self) -> None:
        self._advise()
        while not self._stopped.is_set():
            self._sweep_if_elected()
            self._wake.wait(self._interval)
            self._wake.clear()

    def _advise(self) -> None:
        try:
            for sentence in [] if self._backend.advice is None else self._backend.advice.warnings():
                _log.warning("session store %s: %s", self._backend.name, sentence)
        except (OSError, StoreUnavailable) as error:
            _log.warning("session store %s could not be examined: %s", self._backend.name, error)

    def _sweep_if_elected(self) -> None:
        try:
            if self._backend.leftovers is None:
                self._log(self.sweep())
                return
            # Slightly less than the interval, so that the worker that swept last is not too early.
            interval = 1.0 if self._is_crowded() else self._interval * 0.9
            with self._backend.leftovers.elect(interval) as elected:
                if elected:
                    self._log(self.sweep())
        except (OSError, StoreUnavailable) as error:
            _log.warning("a sweep of the session store failed, the next one will do: %s", error)

    def _is_crowded(self) -> bool:
        return self._max_sessions is not None and self._live + self._created > self._max_sessions

    def _log(self, sweep: Sweep) -> None:
        counts = {"expired": sweep.expired, **sweep.leftovers}
        level = logging.INFO if any(counts.values()) else logging.DEBUG
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        _log.log(level, "swept the session store: removed %s", text)
        if sweep.live is not None:
            self._live, self._created = sweep.live, 0
            if self._is_crowded():
                _log.warning(
                    "%d live sessions, more than WSGI_SESSIONS_MAX_SESSIONS=%d: none is removed; "
                    "shorten the idle lifetime, or raise the number",
                    sweep.live,
                    self._max_sessions,
                )
