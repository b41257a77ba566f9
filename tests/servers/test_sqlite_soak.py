"""SQLite under load for a minute, with another process that comes, checkpoints and goes."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer, HttpBrowser
from redis_servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gunicorn_server import Reply

SECONDS = float(os.environ.get("SQLITE_SOAK_SECONDS", "60"))
SESSIONS = 4
# What a backup, a command and an operator do. It ends at the end of its standard input.
_VISITOR = """
import os, select, sqlite3, sys
while not select.select([sys.stdin], [], [], 0.02)[0]:
    connection = sqlite3.connect(sys.argv[1], timeout=10)
    connection.execute("SELECT count(*) FROM wsgi_sessions").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
"""


class Counter:
    """Counts a session up, on and on; what was acknowledged, and what may have been done."""

    def __init__(self, browser: HttpBrowser) -> None:
        self._browser = browser
        self.acknowledged = 0
        self.unanswered = 0
        self.refused: list[Reply] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                reply = self._browser.get("/whoami", user="ada")
            except (OSError, HTTPException):
                self.unanswered += 1  # its worker was killed
                continue
            if reply.status == 200:
                self.acknowledged += 1
            else:
                self.refused.append(reply)


@contextmanager
def visited(path: Path) -> Iterator[None]:
    """Another process opens, checkpoints and closes the database all the time."""
    visitor = subprocess.Popen([sys.executable, "-c", _VISITOR, str(path)], stdin=subprocess.PIPE)
    try:
        yield
        assert visitor.poll() is None
    finally:
        visitor.communicate(timeout=60)
    assert visitor.returncode == 0


def kill_now_and_then(server: GunicornServer, until: float) -> None:
    while time.monotonic() < until:
        time.sleep(1.0)  # of the load's, nothing waits for it
        wait_until(lambda: len(server.workers()) == 3, "three workers", 60)
        os.kill(random.choice(server.workers()), signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 3, "three workers", 60)


@pytest.mark.soak
def test_sqlite_keeps_acknowledged_writes_while_processes_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    environ = {"WSGI_SESSIONS_SQL_SCHEMA": "create", "WSGI_SESSIONS_TIMEOUT": "10"}
    with GunicornServer(
        worker_class="gthread",
        url=f"sqlite:///{path}",
        environ=environ,
    ) as server:
        browsers = [server.browser() for _ in range(SESSIONS)]
        for browser in browsers:
            assert browser.get("/start").status == 200
        counters = [Counter(browser.twin()) for browser in browsers for _ in range(2)]
        stop = threading.Event()
        with ThreadPoolExecutor(len(counters)) as pool, visited(path):
            runs = [pool.submit(counter.run, stop) for counter in counters]
            try:
                kill_now_and_then(server, time.monotonic() + SECONDS)
            finally:
                stop.set()
            for run in runs:
                run.result()
        for number, browser in enumerate(browsers):
            mine = counters[2 * number : 2 * number + 2]
            assert [reply for one in mine for reply in one.refused] == []
            done = sum(one.acknowledged for one in mine)
            counted = browser.values()["visits of ada"]
            assert done <= counted <= done + sum(one.unanswered for one in mine)
            assert done > 0
        assert "malformed" not in server.log()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
