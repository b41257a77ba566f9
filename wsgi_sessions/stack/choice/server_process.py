"""The process that the workers of one server come from, as seen from a worker."""

from __future__ import annotations

import os
from typing import NamedTuple

_DEAD = ("Z", "X")


class Process(NamedTuple):
    """A process, told from a later one with its number by when it was started (kernel ticks)."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Whether it runs still. True also if that cannot be told."""
        try:
            found = _Stat.of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        except (OSError, ValueError):
            return True
        return found.started == self.started and found.state not in _DEAD


def server_of_this_process() -> Process | None:
    """The parent of this process, if it is the server that this one is a worker of.

    It is, if this process was forked from it and runs the same program still (gunicorn, uWSGI,
    mod_wsgi), or was spawned by its `multiprocessing`. A shell, systemd or a supervisor is not:
    from these, a program of its own was started. None too where there is no ``/proc``.
    """
    from multiprocessing import parent_process  # only who asks pays for the import

    spawner = parent_process()
    try:
        mine, pid = _Stat.of(os.getpid()), os.getppid()
        theirs = _Stat.of(pid)
        if spawner is not None and spawner.pid is not None:
            pid = spawner.pid
            theirs = _Stat.of(pid)
        elif not theirs.runs_the_image_of(mine):
            return None
    except (OSError, ValueError):
        return None
    return Process(pid, theirs.started)


class _Stat(NamedTuple):
    """What ``/proc/PID/stat`` says, see proc_pid_stat(5)."""

    name: str
    state: str
    started: int
    stack: int

    @classmethod
    def of(cls, pid: int) -> _Stat:
        """Raises OSError if there is no such process or file, ValueError for what is no stat."""
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
            head, _, tail = file.read().rpartition(")")
        fields = tail.split()
        if len(fields) < 26:
            raise ValueError("too few fields")
        return cls(head.partition("(")[2], fields[0], int(fields[19]), int(fields[25]))

    def runs_the_image_of(self, other: _Stat) -> bool:
        """Whether one was forked from the other, with no program started since.

        The kernel puts the stack to a new random place whenever a program is started, and a fork
        leaves it there. The address of another user's process reads as 0: then the names decide,
        as for workers that gave up the rights of their server.
        """
        if self.stack and other.stack:
            return self.stack == other.stack
        return self.name == other.name
