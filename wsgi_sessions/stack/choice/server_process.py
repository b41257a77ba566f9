"""This process, and the parent process of the workers of its server."""

from __future__ import annotations

import os
from typing import NamedTuple

_DEAD = ("Z", "X")


class Process(NamedTuple):
    """A process, identified by its number and its start time (kernel ticks)."""

    pid: int
    started: int

    def is_alive(self) -> bool:
        """Return whether it is still running, or True if that is unknown."""
        try:
            found = _Stat.of(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return not _has_proc() and _answers(self.pid)
        except (OSError, ValueError):
            return True
        return found.started == self.started and found.state not in _DEAD


def server_of_this_process() -> Process | None:
    """Return the parent of this process, if this is one of its workers.

    That is the case if this process was forked from it and still runs the same program (gunicorn,
    uWSGI, mod_wsgi), or was spawned by its `multiprocessing`; not if a shell, systemd or a
    supervisor started another program. Also None without ``/proc``.
    """
    from multiprocessing import parent_process  # imported on use: few processes need it

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


def this_process() -> Process:
    """Return this process; its start time is 0 without ``/proc``."""
    pid = os.getpid()
    try:
        return Process(pid, _Stat.of(pid).started)
    except (OSError, ValueError):
        return Process(pid, 0)


def number_space() -> int:
    """Return a number for the space of process numbers, of which each container has its own."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _has_proc() -> bool:
    return os.path.exists("/proc/self/stat")


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class _Stat(NamedTuple):
    """Fields of ``/proc/PID/stat``, see proc_pid_stat(5)."""

    name: str
    state: str
    started: int
    stack: int

    @classmethod
    def of(cls, pid: int) -> _Stat:
        """Read them. Raises OSError without such a process or file, ValueError if malformed."""
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
            head, _, tail = file.read().rpartition(")")
        fields = tail.split()
        if len(fields) < 26:
            raise ValueError("too few fields")
        return cls(head.partition("(")[2], fields[0], int(fields[19]), int(fields[25]))

    def runs_the_image_of(self, other: _Stat) -> bool:
        """Return whether one was forked from the other without starting a program since.

        The kernel moves the stack to a random address when a program starts; a fork keeps it. The
        address reads as 0 for a process of another user: then the names decide, as for workers that
        dropped the rights of their server.
        """
        if self.stack and other.stack:
            return self.stack == other.stack
        return self.name == other.name
