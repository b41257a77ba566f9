"""Background work: one thread of each kind per process, which survives forks and faults.

The rule at a fork: whatever belongs to a process (a thread, and the locks, events and queues that
it shares with its callers) is created at its first use in that process. A child never looks at its
parent's. So a server may load the application, use it, and then fork its workers; and a child never
asks for a lock that another thread held at the fork and that nothing in the child will release.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from wsgi_sessions import texts
from wsgi_sessions.errors import SessionError
from wsgi_sessions.forks import here, this_process

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

T = TypeVar("T")
EXIT_SECONDS = 2.0
_log = texts.log(__name__)


class PerProcess(Generic[T]):
    """A value that each process makes for itself, at its first use there. Thread-safe."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}  # by process id

    def get(self) -> T:
        """Return this process's value."""
        made = self._made.get(os.getpid())
        return self._begin() if made is None else made

    def known(self) -> T | None:
        """Return this process's value, or None if it has none yet."""
        return self._made.get(os.getpid())

    def pop(self) -> T | None:
        """Remove and return this process's value, or None; the next use makes another one."""
        return self._made.pop(os.getpid(), None)

    def _begin(self) -> T:
        pid = os.getpid()
        for other in list(self._made):  # a copy at once: other threads begin too
            if other != pid:
                self._made.pop(other, None)  # the parent's: its id may be used again
        # setdefault: two threads that race here use the same one. No lock: a fork may find it
        # locked.
        return self._made.setdefault(pid, self._make())


class Worker(Protocol):
    """The work that the thread of one process does."""

    def run(self) -> None:
        """Work until `stop`; return at once if that was called before."""

    def stop(self) -> None:
        """Have `run` return soon. Called from any thread."""


W = TypeVar("W", bound=Worker)


class Background(Generic[W]):
    """A daemon thread in each process that uses it, and the worker that it runs.

    `make` makes the worker of a process. A thread that fails to start is logged, and is tried again
    at the next use. The worker is stopped when the process ends.
    """

    def __init__(self, name: str, make: Callable[[], W]) -> None:
        self._name = name
        self._here = PerProcess(lambda: _ProcessThread(make()))
        self._runs_in: int | None = None  # the mark of the process
        self._trouble = FaultLog(_log, f"the thread {name!r} could not be started")

    def worker(self) -> W:
        """This process's worker, which may not run yet."""
        return self._here.get().worker

    def known(self) -> W | None:
        """This process's worker, or None if it has none yet."""
        process = self._here.known()
        return None if process is None else process.worker

    def ensure_running(self) -> None:
        """Start this process's thread unless it was started: cheap enough for each request."""
        if self._runs_in != here[0]:
            self.start()

    def start(self) -> W:
        """Return this process's worker, running from now on. Costs nothing if it runs already."""
        process = self._here.get()
        if process.thread is None:
            self._start(process)
        return process.worker

    def close(self) -> None:
        """Stop the worker, and wait until the thread has ended, or for two seconds.

        May be used again: that makes a new worker.
        """
        process, self._runs_in = self._here.pop(), None
        if process is None:
            return
        process.worker.stop()
        if process.thread is not None:
            atexit.unregister(self.close)
            if process.thread is not threading.current_thread():
                process.thread.join(EXIT_SECONDS)

    def _start(self, process: _ProcessThread[W]) -> None:
        with process.starting:
            if process.thread is not None:
                return
            thread = threading.Thread(target=process.worker.run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread is left, or the process ends
                self._trouble.met(error)
                return
            process.thread, self._runs_in = thread, this_process()
            atexit.register(self.close)


class _ProcessThread(Generic[W]):
    """The worker and the thread of one process."""

    def __init__(self, worker: W) -> None:
        self.worker = worker
        self.thread: threading.Thread | None = None
        self.starting = threading.Lock()


class FaultLog:
    """A log of the first of several faults in a row, and of their end.

    An error of this package is one WARNING. Anything else is an ERROR with its traceback, because
    no caller reports it. A repeated fault of the same kind is logged at DEBUG only, until `over`.
    `what` is a clause such as "leases are not kept".
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._known: type[Exception] | None = None

    def attempt(self, work: Callable[[], object]) -> None:
        """Do a piece of work; no fault in it ends the thread."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the next piece has its turn
            self.met(error)
        else:
            self.over()

    def met(self, error: Exception) -> None:
        """Note a fault; the thread goes on with its next piece of work."""
        known, self._known = self._known, type(error)  # several threads may meet it at once
        if known is type(error):
            self._log.debug("%s: %s", self._what, error)
        elif isinstance(error, (SessionError, OSError)):
            self._log.warning("%s: %s", self._what, error)
        else:
            self._log.error("%s: %s", self._what, error, exc_info=error)

    def over(self) -> None:
        """Note that a piece of work succeeded."""
        if self._known is not None:
            self._known = None
            self._log.info("over since: %s", self._what)
