"""Other processes that use the store under test."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

from wsgi_sessions.contract import Context
from wsgi_sessions.errors import VersionConflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event

    from wsgi_sessions.contract import Backend

PROCESSES = 4
TIMES = 100
SECOND_CONTEXT = Context(b"second", 2_000_000_000.25)
SECONDS = 120.0
_SPAWN = multiprocessing.get_context("spawn")  # nothing of this process goes along


class OtherProcess:
    """A process that runs one of this module's jobs on one session."""

    def __init__(
        self, job: Callable[[Backend, str], None], open_store: Callable[..., Backend], key: str
    ) -> None:
        self._is_ready, self._may_begin = _SPAWN.Event(), _SPAWN.Event()
        given = (job, open_store, key, self._is_ready, self._may_begin)
        self._process = _SPAWN.Process(target=_run, args=given, daemon=True)
        self._process.start()

    def wait_until_ready(self) -> None:
        """Return when it has opened the store."""
        assert self._is_ready.wait(SECONDS), "see its standard error"

    def begin(self) -> None:
        """Start the job."""
        self._may_begin.set()

    def end(self) -> None:
        """Wait for the process to end; fail unless it ended well."""
        self._process.join(SECONDS)
        assert self._process.exitcode == 0, "see its standard error"

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self._process.kill()
        self._process.join()


def _run(
    job: Callable[[Backend, str], None],
    open_store: Callable[..., Backend],
    key: str,
    is_ready: Event,
    may_begin: Event,
) -> None:
    backend = open_store()
    backend.sessions.ping()
    is_ready.set()
    may_begin.wait()
    job(backend, key)
    backend.close()


def body_of(version: int) -> bytes:
    """Return the payload for a version: different for each version, of varying length."""
    return str(version).encode() * (50 + 37 * version % 900)


def add_one(backend: Backend, key: str) -> None:
    """Count up in the payload by compare-and-set, as a client of the contract does."""
    record = backend.sessions.load(key)
    while True:
        assert record is not None
        payload = str(int(record.payload) + 1).encode()
        try:
            backend.sessions.save(key, payload, time.time() + 1000, expected_version=record.version)
        except VersionConflict as conflict:
            record = conflict.current
        else:
            return


def count(backend: Backend, key: str) -> None:
    """Add one `TIMES` times."""
    for _ in range(TIMES):
        add_one(backend, key)
        assert backend.sessions.load(key) is not None


def write(backend: Backend, key: str) -> None:
    """Save one version after another until the process is killed."""
    record = backend.sessions.load(key)
    assert record is not None
    version = record.version
    while True:
        body, expires_at = body_of(version + 1), time.time() + 1000
        version = backend.sessions.save(key, body, expires_at, expected_version=version)


def bump(backend: Backend, scope: str) -> None:
    """Bump a version stamp `TIMES` times; each bump returns a higher version."""
    assert backend.versions is not None
    versions = [backend.versions.bump(scope) for _ in range(TIMES)]
    assert versions == sorted(set(versions))


def select(backend: Backend, principal: str) -> None:
    """Find the context of a principal, and set another one."""
    assert backend.contexts is not None
    assert backend.contexts.get(principal, "deal") is not None
    backend.contexts.set(principal, "deal", SECOND_CONTEXT)


def hold_lease(backend: Backend, key: str) -> None:
    """Hold a lease until the process is killed."""
    assert backend.leases is not None
    assert backend.leases.acquire(key, "other process", 60.0)
    time.sleep(SECONDS)
