"""Refresher: calls a hook for each kept-alive session, once per interval, while no request uses it.

No WSGI. An application keeps a session alive (`Session.keep_alive`) if it holds something that goes
stale on its own: a token of another service, a feed, a price. The hook renews it before it is
needed.

Promised: the hook is called at most once per interval for a session, by one refresher of all at a
time, and never while a request holds a lease on it; neither its idle nor its absolute lifetime
moves. The start of a call is stored before the call, so that it counts even if the store then
fails, or the refresher is killed: the hook's changes are lost, and the next call is an interval
later.

Not promised: that the refresh is on time. A session in use is taken once it is free; after a failed
refresh the wait grows; a session whose schedule was lost with a server's memory is not refreshed
until `keep_alive` is called again.
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
    """Refreshes the kept-alive sessions of a manager: ``refresh(session)`` may change them.

    Call `ensure_running` with each request, or `run` in a process of its own. The first starts a
    thread, once in each process; all these threads share the work.

    The hook may change data, or log the session out; a change that needs a cookie (a log-in, a new
    id) raises `HeadersAlreadySent`. It runs in a thread of its own, one at a time in each process.
    A hook that raises or hangs is called again after 2, 4, 8 and then every 16 intervals.

    Args:
        interval: seconds between two refreshes of a session.
        deadline: seconds for one call of the hook; a longer call is left behind, and its later
            changes are dropped.
        ttl: seconds for which a dead refresher keeps requests waiting.

    Raises:
        ConfigurationError: the backend has no leases, or a time is not above 0.
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
        self._background = Background("wsgi_sessions refresher", self._new_poller)
        self.ensure_running = self._background.ensure_running
        """Start the thread, once in each process. Bound here: every request calls it."""

    def run(self) -> None:
        """Refresh due sessions, in this thread, until another one calls `stop`."""
        self._background.worker().run()

    def stop(self) -> None:
        """Make `run` return soon: a running hook is left behind, its claim released."""
        self._background.worker().stop()

    def close(self) -> None:
        """Stop, and wait until the thread has ended, or for two seconds. May be used again."""
        self._background.close()

    def refresh_due(self) -> Counter[RefreshOutcome]:
        """Refresh up to a hundred sessions that are due now; return the count of each outcome.

        Raises StoreUnavailable.
        """
        return self._background.worker().refresh_due()

    def _new_poller(self) -> _Poller:
        runner = HookRunner(self._refresh, self.policy.deadline)
        return _Poller(self._job, runner, min(self.policy.interval / 5, _MAX_POLL))


class _Poller:
    """The loop of one process, every `poll` seconds, over the sessions that are due."""

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
        random.shuffle(keys)  # several refreshers should not all begin with the same one
        outcomes: Counter[RefreshOutcome] = Counter()
        for key in keys:
            if self._runner.is_free():
                outcomes[self._job.visit(key, self._runner)] += 1
        return outcomes

    def _look(self) -> None:
        self._has_more = False
        outcomes = self.refresh_due()
        self._has_more = outcomes.total() >= BATCH and outcomes["refreshed"] > 0
