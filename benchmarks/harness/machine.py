"""The machine that figures belong to: what it is, and how to keep it awake while measuring."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import wsgi_sessions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMPARED = (
    "redis",
    "hiredis",
    "gunicorn",
    "SQLAlchemy",
    "psycopg",
    "Flask",
    "Flask-Session",
    "cachelib",
    "Beaker",
    "Django",
    "pyramid",
    "pyramid-session-redis",
    "secure-cookie",
)


def machine(folder: str) -> dict[str, str]:
    """What the figures belong to."""
    kind = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE", "-T", folder], capture_output=True, text=True, check=False
    )
    return {
        "wsgi_sessions": wsgi_sessions.__version__,
        "python": platform.python_version(),
        **{name: found for name in COMPARED if (found := installed(name)) is not None},
        "kernel": platform.release().partition("-")[0],
        "processors": str(len(os.sched_getaffinity(0))),
        "file system": kind.stdout.strip(),
    }


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@contextmanager
def awake() -> Iterator[None]:
    """Keep every processor from sleeping, with work that gives way to any other (SCHED_IDLE).

    A processor that has gone to sleep between a request and its reply takes longer to wake up than
    the reply takes to make. That hides what is compared, and differs from moment to moment.
    """
    spin = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", spin]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def processors() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


@contextmanager
def kept_on(wanted: Iterable[int], pids: Iterable[int]) -> Iterator[None]:
    """Keep these processes, and what they start meanwhile, on some of the processors.

    Where the kernel puts a client and its server, on one or on two, is its choice anew at each
    moment. A round trip takes up to twice as long in one case as in the other, for reasons that
    nobody who is compared here has a part in.
    """
    chosen = set(wanted)
    before: dict[int, set[int]] = {}
    try:
        for thread in (thread for pid in pids for thread in _threads(pid)):
            with suppress(ProcessLookupError):  # it has ended, here and below
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, chosen)
        yield
    finally:
        for thread, those in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, those)


def _threads(pid: int) -> list[int]:
    """A process's threads; none if it has ended, as a database's helpers do."""
    try:
        return [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []


def as_line(facts: dict[str, str]) -> str:
    """The facts for people."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())
