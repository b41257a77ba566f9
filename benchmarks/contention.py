"""Measure 5: 1 to 64 processes that change one session at once, as fast as they can.

Each is a process that asks its own copy of the application to count up. What is kept is read at the
end; what a writer waited at worst, and how much the slowest of them got done, are its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from child import Child, Visitors, environ, serve
from contestants import BY_NAME, App
from machine import awake
from rounds import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from places import Place

LEVELS = (1, 2, 4, 8, 16, 32, 64)
NAMES = (
    "wsgi_sessions, files",
    "wsgi_sessions, Redis",
    "wsgi_sessions, SQLite",
    "wsgi_sessions, PostgreSQL",
    "Django, files",
    "pyramid_session_redis, Redis",
)


def run(place: Place, seconds: float, levels: Iterable[int] = LEVELS) -> dict[str, Any]:
    """All of it, as JSON."""
    rows: dict[str, dict[str, Any]] = {}
    with awake():
        for name in NAMES:
            if BY_NAME[name].missing(place) is not None:
                continue
            with Child(name, place) as child:
                child.log_in(1)
                rows[name] = {}
                for level in levels:
                    progress(f"contention: {name}, {level} writers")
                    rows[name][str(level)] = child.contend(level, seconds)
    progress("")
    return {"seconds": seconds, "contestants": rows}


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


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = [
        (
            f"{'writers on one session':34}{'writers':>8}{'done/s':>9}{'lost':>8}{'refused':>9}"
            f"{'retries':>9}{'worst ms':>10}{'fewest':>8}"
        )
    ]
    for name, row in report["contestants"].items():
        for level, found in row.items():
            lost = found["done"] - found["kept"]
            lines.append(
                f"{name:34}{level:>8}{found['per second']:9.0f}{lost:8}{found['refused']:9}"
                f"{found['retries']:9}{found['worst wait ms']:10.1f}{found['fewest of one']:8}"
            )
    return lines
