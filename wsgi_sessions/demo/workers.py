"""The workers of the demonstration, by small numbers that outlive a process."""

from __future__ import annotations

import os
import signal
import threading
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgi_sessions.demo.database import Database

_COLOURS = 6
_SECONDS_TO_ANSWER = 0.15


class Workers:
    """A number from 1 for each worker. The successor of a dead one gets its number."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run("CREATE TABLE IF NOT EXISTS workers (number INTEGER PRIMARY KEY, pid INTEGER)")

    def enter(self) -> None:
        """Give this process the first number that no living process has."""
        for number in count(1):
            self._database.run("INSERT OR IGNORE INTO workers VALUES (?, 0)", number)
            holder = self._pid(number)
            if not _is_alive(holder):
                change = "UPDATE workers SET pid = ? WHERE number = ? AND pid = ?"
                self._database.run(change, os.getpid(), number, holder)
            if self._pid(number) == os.getpid():  # otherwise another one was faster
                return

    def number(self, pid: int) -> int:
        """Return the number of a process; 0 if it is no worker, or no longer."""
        rows = self._database.run("SELECT number FROM workers WHERE pid = ?", pid)
        return int(rows[0][0]) if rows else 0

    def kill(self, pid: int) -> bool:
        """Kill a worker with SIGKILL, this one after its answer; return whether it is a worker."""
        if not self.number(pid) or not _is_alive(pid):
            return False
        if pid == os.getpid():
            threading.Timer(_SECONDS_TO_ANSWER, os.kill, (pid, signal.SIGKILL)).start()
        else:
            os.kill(pid, signal.SIGKILL)
        return True

    def _pid(self, number: int) -> int:
        rows = self._database.run("SELECT pid FROM workers WHERE number = ?", number)
        return int(rows[0][0])


def colour(number: int) -> str:
    """Return the CSS class of a worker's colour; ``w0`` for none."""
    return f"w{(number - 1) % _COLOURS + 1 if number else 0}"


def _is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
