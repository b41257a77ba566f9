"""kill -9 of workers: no session is torn or lost, and what was acknowledged is there."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Literal

import pytest
from gunicorn_server import GunicornServer, WorkerClass
from operations import GROW, LOGIN, LOGOUT, START, STARTED, WRITE, PageOperation
from redis_servers import wait_until
from requirements_of_tests import require
from spreads import COMBINATIONS
from store_urls import STORES
from strace import LINK, RENAME, UNLINK, Strace, unavailable

from wsgi_sessions import open_backend
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gunicorn_server import HttpBrowser

PAIRS = [
    *(pair for pair in COMBINATIONS if pair[0] in ("file", "redis")),
    ("sqlite", "gthread"),
    ("postgresql", "gevent"),
]
SESSIONS, THREADS = 2, 2  # threads for each session


# -- at any time, under load -----------------------------------------------------------------------


class Writer:
    """Changes one session, on and on, and keeps account of it."""

    def __init__(self, browser: HttpBrowser, first: int) -> None:
        self._browser = browser
        self._items = itertools.count(first, SESSIONS * THREADS)
        self.attempted: set[int] = set()
        self.acknowledged: set[int] = set()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            item = next(self._items)
            self.attempted.add(item)
            try:
                reply = self._browser.get("/change", item=item)
            except (OSError, HTTPException):
                continue  # its worker was killed: it may have been done, or not
            assert reply.status == 200
            assert reply.set_cookies == []
            self.acknowledged.add(item)


@pytest.mark.parametrize(
    ("store", "worker_class"),
    [
        ("file", "gthread"),
        ("file", "sync"),
        ("redis", "gevent"),
    ],
)
@pytest.mark.soak
def test_kills_in_a_loop_of_writes(store: str, worker_class: WorkerClass, tmp_path: Path) -> None:
    kill_while_writing(store, worker_class, tmp_path, kills=10)


@pytest.mark.soak
@pytest.mark.parametrize(("store", "worker_class"), PAIRS)
def test_many_kills_in_a_loop_of_writes(
    store: str, worker_class: WorkerClass, tmp_path: Path
) -> None:
    kill_while_writing(store, worker_class, tmp_path, kills=30)


def kill_while_writing(store: str, worker_class: WorkerClass, folder: Path, *, kills: int) -> None:
    with ExitStack() as stack:
        url = None
        if store != "file":
            url = stack.enter_context(STORES[store](folder))
        # Workers that start all the time leave little of the processor to a store.
        patient = {"WSGI_SESSIONS_TIMEOUT": "10s"}
        server = stack.enter_context(
            GunicornServer(worker_class=worker_class, url=url, environ=patient)
        )
        browsers = [server.browser() for _ in range(SESSIONS)]
        for browser in browsers:
            START.request(browser)
        try:
            accounts = write_and_kill(server, browsers, kills)
        except AssertionError:
            print(server.log())
            raise
        for browser, writers in zip(browsers, accounts, strict=True):
            check(browser.values(), writers)
        assert server.events("corrupt") == []
        assert_tidy_after_a_sweep(server.url)


def write_and_kill(
    server: GunicornServer, browsers: list[HttpBrowser], kills: int
) -> list[list[Writer]]:
    """The writers of each session, at their end."""
    numbers = itertools.count()
    accounts = [[Writer(b.twin(), next(numbers)) for _ in range(THREADS)] for b in browsers]
    writers = [writer for row in accounts for writer in row]
    stop = threading.Event()
    with ThreadPoolExecutor(len(writers)) as pool:
        runs = [pool.submit(writer.run, stop) for writer in writers]
        try:
            for _ in range(kills):
                kill_one(server, writers)
            server.wait_for_workers()
        finally:
            stop.set()
        for run in runs:
            run.result()
    return accounts


def kill_one(server: GunicornServer, writers: list[Writer]) -> None:
    """Kill a worker once there was progress since the last kill, and another one is left."""
    before = sum(len(writer.acknowledged) for writer in writers)
    wait_until(lambda: sum(len(w.acknowledged) for w in writers) >= before + 5, "progress", 30)
    wait_until(lambda: len(server.workers()) >= 2, "another worker", 30)
    os.kill(random.choice(server.workers()), signal.SIGKILL)


def check(values: dict[str, Any], writers: list[Writer]) -> None:
    """Each acknowledged change is there once, each other at most once, and all of it or nothing."""
    acknowledged = set().union(*(writer.acknowledged for writer in writers))
    attempted = set().union(*(writer.attempted for writer in writers))
    times = Counter(values["log"])
    assert acknowledged <= set(times) <= attempted
    assert set(times.values()) == {1}
    assert Counter(values["entries"]) == times
    assert values["count"] == len(times)
    assert {key for key in values if key.startswith("key ")} == {f"key {item}" for item in times}


def assert_tidy_after_a_sweep(url: str) -> None:
    """The next sweep leaves sessions and nothing else: no temporary, no lock, none in quarantine.

    Of a session whose worker died before it could answer, the record may be left until it expires.
    """
    with closing(open_backend(url)) as backend:
        Sweeper(backend, interval=600).sweep()
        assert backend.quarantine is not None
        assert backend.quarantine.quarantined() == 0
        if backend.name == "file":
            folder = url.removeprefix("file://")
            names = [name for _, _, files in os.walk(f"{folder}/sessions") for name in files]
            assert names
            assert [name for name in names if len(name) != 64] == []
            assert sorted(backend.iteration.keys()) == sorted(names)


# -- at each step of a change ----------------------------------------------------------------------

STEPS: list[tuple[PageOperation, str, int, Literal["before", "after"]]] = [
    (WRITE, "flock", 1, "before"),
    (WRITE, "pwrite64", 1, "before"),
    (WRITE, "fdatasync", 1, "after"),  # the kernel has it; nobody was told so
    (WRITE, "flock", 2, "after"),
    (GROW, "pwrite64", 1, "before"),
    (GROW, "fdatasync", 1, "before"),
    (GROW, RENAME, 1, "before"),
    (LOGIN, "pwrite64", 1, "before"),
    (LOGIN, LINK, 1, "before"),
    (LOGIN, UNLINK, 1, "before"),
    (LOGIN, "pwrite64", 2, "before"),
    (LOGOUT, "pwrite64", 1, "before"),
    (LOGOUT, UNLINK, 1, "after"),  # a tombstone is in its place
    (LOGOUT, "flock", 2, "after"),
    (START, "pwrite64", 1, "before"),
    (START, LINK, 1, "before"),
    (START, UNLINK, 1, "before"),  # it is there, but nobody has its id
]


def name_of(step: object) -> str:
    if isinstance(step, PageOperation):
        return step.name
    return str(step).lstrip("?").partition(",")[0]


@pytest.fixture(scope="module")
def single_worker() -> Iterator[GunicornServer]:
    """One worker with one file store. What it changes, it flushes to the disk."""
    require(unavailable())
    environ = {"WSGI_SESSIONS_FSYNC": "data", "WSGI_SESSIONS_SWEEP_INTERVAL": "off"}
    with GunicornServer(worker_class="sync", workers=1, environ=environ) as server:
        yield server


@pytest.mark.parametrize(("operation", "calls", "nth", "state"), STEPS, ids=name_of)
def test_a_kill_at_a_step(
    single_worker: GunicornServer, operation: PageOperation, calls: str, nth: int, state: str
) -> None:
    """The kernel kills the worker as it enters this system call."""
    server = single_worker
    server.wait_for_workers()
    visitor, other = server.browser(), server.browser()
    for browser in (visitor, other):
        START.request(browser)
    if operation is START:
        visitor = server.browser()
    (worker,) = server.workers()
    with (
        Strace(worker, calls, f"signal=SIGKILL:when={nth}"),
        pytest.raises((OSError, HTTPException)),
    ):
        operation.request(visitor)
    server.wait_for_workers()

    if operation is START or (operation is LOGOUT and state == "after"):
        assert visitor.is_anonymous()
    else:
        changes = operation.changes if state == "after" else None
        assert visitor.values() == {**STARTED, **(changes or {})}
    assert other.values() == STARTED
    assert_tidy_after_a_sweep(server.url)
