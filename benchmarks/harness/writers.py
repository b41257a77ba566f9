"""Processes that change one session at once, forked from the one that holds the contestant."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.harness.visitors import Visitors, environ, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contestants.table import App


class Writer:
    """A process that counts up until the time is over."""

    def __init__(self, visitors: Visitors, begin: float, seconds: float) -> None:
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(write)
            return
        try:
            report = _count_up(visitors, begin, seconds)
            os.write(write, json.dumps(report).encode())
        finally:
            os._exit(0)

    def report(self) -> dict[str, Any]:
        """What it did, once it has ended."""
        with os.fdopen(self._read, "rb") as pipe:
            found: dict[str, Any] = json.loads(pipe.read())
        os.waitpid(self._pid, 0)
        return found


def contend(visitors: Visitors, writers: int, seconds: float) -> dict[str, Any]:
    """So many writers on the first visitor's session, for so many seconds."""
    before = _state(visitors)
    _end_threads(visitors.app)
    begin = time.monotonic() + 0.05 + writers * 0.004  # when all have been forked
    reports = [one.report() for one in [Writer(visitors, begin, seconds) for _ in range(writers)]]
    done = [report["done"] for report in reports]
    return {
        "done": sum(done),
        "kept": _state(visitors) - before,
        "refused": sum(report["refused"] for report in reports),
        "retries": sum(report["retries"] for report in reports),
        "fewest of one": min(done),
        "worst wait ms": max(report["worst"] for report in reports) * 1000,
        "per second": sum(done) / seconds,
    }


def _end_threads(app: App) -> None:
    """End our sweeper. What a thread has locked while its process is forked (in SQLite, say) stays
    locked in the child for ever; servers fork before they serve."""
    close = getattr(app, "close", None)
    if close is not None:
        close()  # and used again: connections are opened anew
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(60)


def _state(visitors: Visitors) -> int:
    return int(json.loads(visitors.request("/state", 0, "")[1])["n"])


def _count_up(visitors: Visitors, begin: float, seconds: float) -> dict[str, Any]:
    cookie, report = visitors.cookies[0], {"done": 0, "refused": 0, "worst": 0.0, "retries": 0}
    with _counted_conflicts(visitors.app, report):
        time.sleep(max(0.0, begin - time.monotonic()))
        while time.monotonic() < begin + seconds:
            answer, _ = serve(visitors.app, environ("/increment", cookie))
            report["done" if answer.status == 200 else "refused"] += 1
            report["worst"] = max(report["worst"], answer.seconds)
    return report


@contextlib.contextmanager
def _counted_conflicts(app: App, report: dict[str, Any]) -> Iterator[None]:
    """Count how often our own store says that another writer was faster; peers cannot tell."""
    manager = getattr(app, "manager", None)
    if manager is None:
        yield
        return
    from wsgi_sessions.errors import VersionConflict

    store = manager.backend.sessions
    save = store.save

    def counted(*args: Any, **more: Any) -> Any:
        try:
            return save(*args, **more)
        except VersionConflict:
            report["retries"] += 1
            raise

    store.save = counted
    yield
    store.save = save
