"""The thread that renews the leases of long requests, and releases those of ended ones."""

from __future__ import annotations

import queue
import weakref
from collections.abc import Callable, Sized
from typing import Protocol

from wsgi_sessions import texts
from wsgi_sessions.background import Background, FaultLog
from wsgi_sessions.clock import monotonic

KeeperJob = Callable[[], object]
_log = texts.log(__name__)


class Renewable(Protocol):
    """A lease that can be kept."""

    def renew(self) -> None:
        """Called every period, from the keeper's thread."""


class Keeper:
    """Renews and releases leases in a thread of its own, one in each process.

    It starts with the first lease. Jobs of requests are done in order, between renewals of all kept
    leases every `period` seconds. A lease that is no longer referred to (a server never closed the
    body) is not kept.

    `watch` is called with all kept leases after each change of their number.
    """

    def __init__(self, period: float, watch: Callable[[Sized], object] | None = None) -> None:
        self._background = Background("wsgi_sessions leases", lambda: _Kept(period))
        self._watch = watch

    def keep(self, lease: Renewable) -> None:
        """Renew this lease from now on."""
        leases = self._background.start().leases
        leases[id(lease)] = weakref.ref(lease)
        if self._watch is not None:
            self._watch(leases)

    def forget(self, lease: Renewable) -> None:
        """Stop renewing this lease."""
        kept = self._background.known()
        if kept is not None:
            kept.leases.pop(id(lease), None)
            if self._watch is not None:
                self._watch(kept.leases)

    def do(self, job: KeeperJob) -> None:
        """Run a job soon."""
        self._background.start().jobs.put(job)

    def close(self) -> None:
        """End the thread once its jobs are done, or after two seconds."""
        self._background.close()


class _Kept:
    """The leases and jobs of one process."""

    def __init__(self, period: float) -> None:
        self.jobs: queue.SimpleQueue[KeeperJob | None] = queue.SimpleQueue()
        self.leases: dict[int, weakref.ref[Renewable]] = {}
        self._period = period
        self._trouble = FaultLog(_log, "a lease could not be kept")

    def run(self) -> None:
        due = monotonic() + self._period
        while True:
            now = monotonic()
            if now >= due:
                due = now + self._period
                for lease in list(self.leases.values()):
                    self._renew(lease)
            try:
                job = self.jobs.get(timeout=max(0.0, due - now))
            except queue.Empty:
                continue
            if job is None:
                return
            self._trouble.attempt(job)

    def stop(self) -> None:
        self.jobs.put(None)

    def _renew(self, reference: weakref.ref[Renewable]) -> None:
        lease = reference()
        if lease is not None:
            self._trouble.attempt(lease.renew)
            return
        for number in [n for n, kept in self.leases.items() if kept is reference]:
            self.leases.pop(number, None)
