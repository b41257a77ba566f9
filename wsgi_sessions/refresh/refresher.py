"""Refresher: calls a hook for each session that is kept alive, once per interval, while nobody
uses it. No WSGI.

An application keeps a session alive (`Session.keep_alive`) that holds something which grows old by
itself: a token of another service, a feed, a price. The hook makes it new before it is needed.

Promised: the hook is called at most once per interval for a session, by one refresher of all at a
time, and not while a request holds a lease on it; neither its idle nor its absolute lifetime moves.
That a call begins is stored before it does, so that it counts also where the store then stops to
answer, or the refresher is killed: what the hook changed is lost, and the next call is an interval
later.

Not promised: that it is refreshed on time. One that is in use is taken once it is free; one whose
refresh failed waits longer and longer; one whose schedule was lost with a server's memory is not
refreshed before `keep_alive` is called again.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.background import Background, FaultLog
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.refresh.hook_runner import HookRunner
from wsgi_sessions.refresh.visit import RefreshJob, RefreshOutcome, RefreshPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.session import Session

BATCH = 100
_MAX_POLL = 5.0
_NOT_REFRESHED = "sessions could not be refreshed; the next look may do"
_log = texts.log(__name__)


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
        self._job = RefreshJob(manager, self.policy, clock)
        self._refresh = refresh
        self._background = Background("wsgi_sessions refresher", self._looks)
        self.ensure_running = self._background.ensure_running
        """Start the thread, once in each process. Bound here: every request calls it."""

    def run(self) -> None:
        """Refresh what is due, in this thread, until another one calls `stop`."""
        self._background.worker().run()

    def stop(self) -> None:
        """Have `run` return soon: a hook that is running is left behind, its claim released."""
        self._background.worker().stop()

    def close(self) -> None:
        """Stop, and wait until the thread has ended, or for two seconds. May be used again."""
        self._background.close()

    def refresh_due(self) -> Counter[RefreshOutcome]:
        """Refresh what is due now, up to a hundred sessions; what came of each.

        Raises StoreUnavailable.
        """
        return self._background.worker().refresh_due()

    def _looks(self) -> _Poller:
        runner = HookRunner(self._refresh, self.policy.deadline)
        return _Poller(self._job, runner, min(self.policy.interval / 5, _MAX_POLL))


class _Poller:
    """One process looking, every `poll` seconds, at what is due."""

    def __init__(self, visits: RefreshJob, runner: HookRunner, poll: float) -> None:
        self._job = visits
        self._runner = runner
        self._poll = poll
        self._has_more = False
        self._trouble = FaultLog(_log, _NOT_REFRESHED)

    def run(self) -> None:
        pause = self._poll
        while self._runner.pause(random.uniform(0.2, 1) * pause):  # noqa: S311  # jitter, no secret
            self._trouble.attempt(self._look)
            pause = 0.0 if self._has_more else self._poll

    def stop(self) -> None:
        self._runner.stop()

    def refresh_due(self) -> Counter[RefreshOutcome]:
        keys = self._job.queue.due(self._job.clock(), BATCH)
        random.shuffle(keys)  # several refreshers had better not all begin with the same one
        outcomes: Counter[RefreshOutcome] = Counter()
        for key in keys:
            if self._runner.is_free():
                outcomes[self._job.visit(key, self._runner)] += 1
        return outcomes

    def _look(self) -> None:
        self._has_more = False
        outcomes = self.refresh_due()
        self._has_more = outcomes.total() >= BATCH and outcomes["refreshed"] > 0
