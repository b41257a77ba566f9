"""The thread that renews the leases of long requests, and releases those of ended ones."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic

Job = Callable[[], object]
_EXIT_SECONDS = 2.0
_log = texts.log("wsgi_sessions.leases")


class Renewable(Protocol):
    """What can be kept."""

    def renew(self) -> None:
        """Called every period, from the keeper's thread."""


@dataclass
class _Process:
    """What belongs to one process: a fork has no threads, and none of its parent's requests."""

    # Looked up here: this module may have been imported before gevent patched the queue.
    jobs: queue.SimpleQueue[Job | None] = field(default_factory=lambda: queue.SimpleQueue())
    kept: dict[int, weakref.ref[Renewable]] = field(default_factory=dict)
    thread: threading.Thread | None = None


class Keeper:
    """Renews and releases leases in a thread of its own, one in each process.

    It starts with the first lease, so that it survives a server's fork. What a request asks for is
    done in order, between renewals of all that are kept, every `period` seconds. A lease that
    nobody refers to any more (a server that never closed the body) is not kept.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._processes: dict[int, _Process] = {}

    def keep(self, lease: Renewable) -> None:
        """Renew this lease from now on."""
        self._process().kept[id(lease)] = weakref.ref(lease)

    def forget(self, lease: Renewable) -> None:
        """Do not renew it any more."""
        process = self._processes.get(os.getpid())
        if process is not None:
            process.kept.pop(id(lease), None)

    def do(self, job: Job) -> None:
        """Run a job soon."""
        self._process().jobs.put(job)

    def close(self) -> None:
        """End the thread once it has done what was asked for, or after two seconds."""
        process = self._processes.pop(os.getpid(), None)
        if process is not None and process.thread is not None:
            atexit.unregister(self.close)
            process.jobs.put(None)
            process.thread.join(_EXIT_SECONDS)

    def _process(self) -> _Process:
        process = self._processes.get(os.getpid())
        if process is None:
            fresh = _Process()
            # setdefault: of two threads that race here, both use the same one. No lock, because
            # a fork may find it locked.
            process = self._processes.setdefault(os.getpid(), fresh)
            if process is fresh:
                self._start(process)
        return process

    def _start(self, process: _Process) -> None:
        for pid in [pid for pid in self._processes if pid != os.getpid()]:
            del self._processes[pid]  # the parent's
        process.thread = threading.Thread(
            target=self._run, args=(process,), name="wsgi_sessions leases", daemon=True
        )
        process.thread.start()
        atexit.register(self.close)

    def _run(self, process: _Process) -> None:
        due = monotonic() + self._period
        while True:
            now = monotonic()
            if now >= due:
                due = now + self._period
                for lease in list(process.kept.values()):
                    _renew(process, lease)
            try:
                job = process.jobs.get(timeout=max(0.0, due - now))
            except queue.Empty:
                continue
            if job is None:
                return
            _do(job)


def _renew(process: _Process, reference: weakref.ref[Renewable]) -> None:
    lease = reference()
    if lease is not None:
        _do(lease.renew)
        return
    for number in [n for n, kept in process.kept.items() if kept is reference]:
        process.kept.pop(number, None)


def _do(job: Job) -> None:
    try:
        job()
    except Exception:  # noqa: BLE001  # faults of the store are caught; a bug must not end the thread
        _log.exception("a lease could not be kept")
