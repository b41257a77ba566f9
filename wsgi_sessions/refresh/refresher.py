"""Refresher: calls a hook for each session that is kept alive, once per interval, while nobody
uses it. No WSGI.

An application keeps a session alive (`Session.keep_alive`) that holds something which grows old by
itself: a token of another service, a feed, a price. The hook makes it new before it is needed.

Promised: a session is refreshed at most once per interval, by one refresher of all at a time, and
not while a request holds a lease on it; neither its idle nor its absolute lifetime moves.

Not promised: that it is refreshed on time. One that is in use is taken once it is free; one whose
refresh failed waits longer and longer; one whose schedule was lost with a server's memory is not
refreshed before `keep_alive` is called again.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.hook_runner import HookRunner
from wsgi_sessions.refresh.visit import Outcome, RefreshPolicy, Visits

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.manager import SessionManager
    from wsgi_sessions.session import Session

BATCH = 100
_MAX_POLL = 5.0
_EXIT_SECONDS = 2.0
_log = texts.log("wsgi_sessions.refresher")


class Refresher:
    """Refreshes sessions of a manager: ``refresh(session)`` may change the session it is given.

    Times are in seconds. `interval`: between two refreshes of a session. `deadline`: for one call
    of the hook; one that takes longer is left behind, and what it still does to its session comes
    to nothing. `ttl`: for how long a refresher that dies keeps requests waiting. A hook that raises
    or hangs is called again after 2, 4, 8 and then every 16 intervals.

    The hook may change data, or log the session out; what would need a cookie (a log-in, a new id)
    raises `HeadersAlreadySent`. It runs in a thread of its own, one at a time in each process.

    Call `ensure_running` with each request, or in a process of its own: it starts a thread, once in
    each process. All these threads share the work.

    Raises ConfigurationError for a backend without leases, and for times that are not above 0.
    """

    def __init__(
        self,
        manager: SessionManager,
        refresh: Callable[[Session], object],
        *,
        interval: float = 60.0,
        deadline: float = 30.0,
        ttl: float = 30.0,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.policy = RefreshPolicy(interval, deadline, ttl)
        self._visits = Visits(manager, self.policy, clock)
        self._refresh = refresh
        self._processes: dict[int, _Process] = {}

    def ensure_running(self) -> None:
        """Start the thread, once in each process."""
        process = self._processes.get(os.getpid())
        if process is None or process.thread is None:
            self._start(self._process())

    def run(self) -> None:
        """Refresh what is due, in this thread, until another one calls `stop`."""
        runner = self._process().runner
        poll = min(self.policy.interval / 5, _MAX_POLL)
        pause = poll
        while runner.pause(random.uniform(0.2, 1) * pause):  # noqa: S311  # jitter, no secret
            outcomes = self._try_refresh_due()
            has_more = outcomes.total() >= BATCH and outcomes["refreshed"] > 0
            pause = 0.0 if has_more else poll

    def stop(self) -> None:
        """Have `run` return soon: a hook that is running is left behind, its claim released."""
        self._process().runner.stop()

    def close(self) -> None:
        """Stop, and wait until the thread has ended, or for two seconds. May be used again."""
        process = self._processes.pop(os.getpid(), None)
        if process is not None:
            process.runner.stop()
            if process.thread is not None:
                atexit.unregister(self.close)
                process.thread.join(_EXIT_SECONDS)

    def refresh_due(self) -> Counter[Outcome]:
        """Refresh what is due now, up to a hundred sessions; what came of each.

        Raises StoreUnavailable.
        """
        visits, runner = self._visits, self._process().runner
        keys = visits.queue.due(visits.clock(), BATCH)
        random.shuffle(keys)  # several refreshers had better not all begin with the same one
        outcomes: Counter[Outcome] = Counter()
        for key in keys:
            if runner.is_free():
                outcomes[visits.visit(key, runner)] += 1
        return outcomes

    def _process(self) -> _Process:
        process = self._processes.get(os.getpid())
        if process is None:
            fresh = _Process(HookRunner(self._refresh, self.policy.deadline))
            # setdefault: of two threads that race here, both use the same one. No lock, because
            # a fork may find it locked.
            process = self._processes.setdefault(os.getpid(), fresh)
        return process

    def _start(self, process: _Process) -> None:
        with process.starting:
            if process.thread is None:
                process.thread = threading.Thread(
                    target=self.run, name="wsgi_sessions refresher", daemon=True
                )
                process.thread.start()
                atexit.register(self.close)

    def _try_refresh_due(self) -> Counter[Outcome]:
        try:
            return self.refresh_due()
        except StoreUnavailable as error:
            _log.warning("sessions could not be refreshed, the next look will do: %s", error)
        except Exception:  # noqa: BLE001  # a bug in one look must not end all later ones
            _log.exception("sessions could not be refreshed")
        return Counter()


@dataclass
class _Process:
    """What belongs to one process: a fork has no threads of its parent's."""

    runner: HookRunner
    thread: threading.Thread | None = None
    # Looked up here: this module may have been imported before gevent patched the lock.
    starting: threading.Lock = field(default_factory=lambda: threading.Lock())
