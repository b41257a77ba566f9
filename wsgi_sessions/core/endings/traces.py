"""Traces: what is kept of ended sessions, written after the end, in the background. No WSGI."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import Background, FaultLog
from wsgi_sessions.clock import wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.endings import EndTrace, EndTraces

MOST = 80_000
"""The most traces of users' sessions that a store keeps; see `EndTraces.trim`."""
_WAITING = 1000
_BATCH = 100
_TRIM_AFTER = 1000
_log = texts.log(__name__)


class Traces:
    """The traces in a store, kept for `seconds` each, and bounded in number.

    They are written by a thread that starts with the first end in a process. It takes the latest
    1000 that wait; the process's end waits for it for two seconds. The sweeper trims them; so does
    the thread, after every 1000 that it wrote.

    Not promised: that a trace is written. A store that does not answer, a full disk and a kill
    lose it.

    `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        store: EndTraces,
        seconds: float,
        *,
        most: int = MOST,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._background = Background(
            "wsgi_sessions endings", lambda: _Writer(self, store, seconds)
        )

    def keep(self, trace: EndTrace) -> None:
        """Have a trace written soon. Never waits, never raises."""
        self._background.worker().put(trace)
        self._background.ensure_running()

    def of(self, key: str) -> EndTrace | None:
        """Return the trace of the session that had this store key. Raises StoreUnavailable."""
        writer = self._background.known()
        waiting = None if writer is None else writer.waiting_for(key)
        return waiting or self._store.trace_of(key)

    def settle(self) -> None:
        """Write what waits in this process, now. For commands, which end at once."""
        writer = self._background.known()
        if writer is not None:
            writer.write()

    def trim(self) -> int:
        """Remove what is too old or too much; return how many. Raises StoreUnavailable."""
        return self._store.trim(self._clock() - self._seconds, self._most)

    def close(self) -> None:
        """Write what waits, and end the thread; wait for two seconds at most."""
        self._background.close()


class _Writer:
    """The traces that wait in one process, and their thread."""

    def __init__(self, traces: Traces, store: EndTraces, seconds: float) -> None:
        self._traces = traces
        self._store = store
        self._seconds = seconds
        self._waiting: deque[EndTrace] = deque(maxlen=_WAITING)
        self._in_flight: dict[str, EndTrace] = {}
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._is_stopped = False
        self._written = 0
        self._trouble = FaultLog(_log, "why sessions ended is not kept in the store")

    def put(self, trace: EndTrace) -> None:
        self._waiting.append(trace)
        self._wake.set()

    def waiting_for(self, key: str) -> EndTrace | None:
        # In the order in which traces move on, so that none slips through.
        with suppress(RuntimeError):  # another thread put one
            for trace in reversed(self._waiting):
                if trace.key == key:
                    return trace
        return self._in_flight.get(key)

    def run(self) -> None:
        """Write whatever comes, until `stop`."""
        while not self._is_stopped:
            self._wake.wait()
            self._wake.clear()
            self.write()

    def stop(self) -> None:
        """End after what waits is written."""
        self._is_stopped = True
        self._wake.set()

    def write(self) -> None:
        """Write what waits. A store that fails has its chance with the next traces."""
        with self._writing:
            while self._waiting:
                self._trouble.attempt(self._write_some)

    def _write_some(self) -> None:
        batch = self._in_flight = {}
        with suppress(IndexError):  # nothing waits any more
            while len(batch) < _BATCH:
                trace = self._waiting[0]
                batch[trace.key] = trace
                self._waiting.popleft()
        self._store.keep(list(batch.values()), self._seconds)
        self._in_flight = {}
        self._written += len(batch)
        if self._written >= _TRIM_AFTER:
            self._written = 0
            self._traces.trim()


def traces_in(store: EndTraces | None, seconds: float) -> Traces | None:
    """Return the traces in a store, or None if it keeps none, or for 0 seconds."""
    return None if store is None or seconds <= 0 else Traces(store, seconds)
