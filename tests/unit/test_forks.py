"""A process that is forked while a thread of its parent works has background work of its own."""

from __future__ import annotations

import importlib.util
import mmap
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions import Refresher, SessionManager, background, forks
from wsgi_sessions.background import PerProcess
from wsgi_sessions.clock import monotonic
from wsgi_sessions.core.limits.census import Census
from wsgi_sessions.forks import this_process
from wsgi_sessions.health.checker import HealthChecker
from wsgi_sessions.leases.keeper import Keeper
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Work = Callable[[], None]
    Ask = Callable[[], object]
    User = Callable[[Work, Callable[[], float], ExitStack], Ask]

CHILD_SECONDS = 10


class Stub:
    """The part of a store that background work calls; it notes the work."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def delete_expired(self, limit: int, told: object = None) -> int:
        self._work()
        return 0

    def warnings(self) -> list[str]:
        self._work()
        return []

    def due(self, now: float, limit: int) -> list[str]:
        self._work()
        return []

    def count(self) -> int:
        self._work()
        return 0


def sweeper(work: Work, clock: Callable[[], float]) -> Sweeper:
    stub: Any = Stub(work)
    return Sweeper(replace(open_memory(), expired=stub), interval=3600)


def refresher(work: Work) -> Refresher:
    stub: Any = Stub(work)
    manager = SessionManager(replace(open_memory(), refreshes=stub))
    return Refresher(manager, lambda session: None, interval=0.05)


def sweeping(work: Work, clock: Callable[[], float], ends: ExitStack) -> Ask:
    made = sweeper(work, clock)
    ends.callback(made.close)
    return made.ensure_running


def refreshing(work: Work, clock: Callable[[], float], ends: ExitStack) -> Ask:
    made = refresher(work)
    ends.callback(made.close)
    return made.ensure_running


def keeping_leases(work: Work, clock: Callable[[], float], ends: ExitStack) -> Ask:
    keeper = Keeper(3600)
    ends.callback(keeper.close)
    return lambda: keeper.do(work)


def checking_health(work: Work, clock: Callable[[], float], ends: ExitStack) -> Ask:
    stub: Any = Stub(work)
    backend = replace(open_memory(), advice=stub)
    return HealthChecker(backend, effect="look", clock=clock).check


def counting_sessions(work: Work, clock: Callable[[], float], ends: ExitStack) -> Ask:
    stub: Any = Stub(work)
    return Census(stub, 5, clock).is_full


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    """What a test started in this process ends with it."""
    with ExitStack() as stack:
        yield stack


USERS = [sweeping, refreshing, keeping_leases, checking_health, counting_sessions]


class ForkGate:
    """Where a thread of the parent is stopped, with whatever it has locked."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._parent, self._holder = os.getpid(), 0

    def close_for(self) -> None:
        """Stop this thread at the gate."""
        self._holder = threading.get_ident()

    def pass_through(self) -> None:
        if os.getpid() == self._parent and threading.get_ident() == self._holder:
            self.entered.set()
            self.leave.wait(30)


@contextmanager
def stopped_at(gate: ForkGate, ask: Ask) -> Iterator[None]:
    """While a thread that asks is stopped at the gate."""

    def run() -> None:
        gate.close_for()
        ask()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert gate.entered.wait(10)
    try:
        yield
    finally:
        gate.leave.set()
        thread.join(30)


def in_child(body: Callable[[], bool]) -> int:
    """The exit status of a forked child: 0 if `body` held in it, the signal's number if it hung."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads that do not survive the fork are what is tested
        pid = os.fork()
    if pid == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            os._exit(0 if body() else 1)
        except BaseException:  # noqa: BLE001  # the child must not go on as a second pytest
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Works:
    """Background work that says whether it was done in this process."""

    def __init__(self) -> None:
        self._done: dict[int, threading.Event] = {}

    def begin(self) -> None:
        self._done[os.getpid()] = threading.Event()

    def __call__(self) -> None:
        self._done[os.getpid()].set()

    def is_done(self) -> bool:
        return self._done[os.getpid()].wait(CHILD_SECONDS / 2)


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__)
def test_a_child_does_not_wait_for_a_thread_that_its_parent_has(
    user: User, ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent is forked while it looks at the clock, or starts the thread: with locks held."""
    gate, work, start = ForkGate(), Works(), threading.Thread.start

    def clock() -> float:
        gate.pass_through()
        return monotonic()

    def gated(thread: threading.Thread) -> None:
        gate.pass_through()
        start(thread)

    ask = user(work, clock, ends)
    work.begin()

    def child() -> bool:
        work.begin()
        ask()
        return work.is_done()

    monkeypatch.setattr(threading.Thread, "start", gated)
    with stopped_at(gate, ask):
        assert in_child(child) == 0
    assert work.is_done(), "the parent goes on"


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__)
def test_a_child_of_a_parent_at_work_works_too(user: User, ends: ExitStack) -> None:
    work = Works()
    ask = user(work, monotonic, ends)
    work.begin()
    ask()
    assert work.is_done()

    def child() -> bool:
        work.begin()
        ask()
        return work.is_done()

    assert in_child(child) == 0


@pytest.mark.parametrize("make", [sweeper, lambda work, _: refresher(work)], ids=["sweep", "hook"])
def test_a_child_works_though_its_parent_has_closed(
    make: Callable[[Work, Callable[[], float]], Any],
) -> None:
    """A server that loads the application, tries it, closes it and forks its workers."""
    work = Works()
    user = make(work, monotonic)
    work.begin()
    user.ensure_running()
    assert work.is_done()
    user.close()

    def child() -> bool:
        work.begin()
        user.ensure_running()
        return work.is_done()

    assert in_child(child) == 0


def test_a_child_may_close_what_its_parent_started() -> None:
    work = Works()
    user = sweeper(work, monotonic)
    work.begin()
    user.ensure_running()
    assert work.is_done()

    def child() -> bool:
        user.close()
        return threading.active_count() == 1

    assert in_child(child) == 0
    work.begin()
    user.close()


def test_threads_may_begin_and_end_while_another_begins() -> None:
    """Another thread begins or ends at each call that this one makes of its own."""
    values: PerProcess[object] = PerProcess(object)

    def change() -> None:
        if values.pop() is None:
            values.get()

    with ThreadPoolExecutor(1) as other:

        def step(frame: FrameType, _event: str, _: object) -> None:
            code = frame.f_code
            if code.co_filename == background.__file__ and code is not PerProcess.get.__code__:
                other.submit(change).result(timeout=60)

        traced = sys.gettrace()
        sys.settrace(step)
        try:
            mine: object = values.get()
        finally:
            sys.settrace(traced)
    assert type(mine) is object


# -- which process this is -------------------------------------------------------------------------

FORKED_BESIDE_PYTHON = """
import ctypes, os, sys
from wsgi_sessions.forks import here, this_process

fork = ctypes.CDLL(None).fork  # runs none of Python's hooks, as uWSGI's does not
parent = this_process()
child = fork()
if child == 0:
    grandchild = fork() if here[0] != parent and this_process() != parent else -1
    mine = this_process()
    if grandchild == 0:
        os._exit(0 if this_process() not in (parent, mine - 1, 0) else 3)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) if grandchild > 0 else 2)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status or (here[0] != parent) or (this_process() != parent))
"""


def test_a_child_of_any_fork_is_recognized() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED_BESIDE_PYTHON], timeout=30, check=False)
    assert done.returncode == 0


def test_a_mark_stays_the_same_and_is_never_zero() -> None:
    mark = this_process()
    assert mark
    assert mark == forks.here[0] == this_process()


def test_without_a_page_that_is_emptied_the_process_id_is_the_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mmap, "mmap", lambda *_, **__: (_ for _ in ()).throw(OSError("refused")))
    fresh = importlib.util.module_from_spec(forks.__spec__)
    forks.__spec__.loader.exec_module(fresh)  # type: ignore[union-attr]
    assert fresh.here[0] == fresh.this_process() == os.getpid()
