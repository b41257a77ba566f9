"""Other processes that use the store under test: ``python -m`` this module, as `OtherProcess` does.

The parent sends the function that opens the store by pickle.
"""

from __future__ import annotations

import base64
import json
import pickle  # what comes in is the parent's
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import VersionConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend

READY = "ready\n"
TIMES = 100


class OtherProcess:
    """A process that runs one of this module's jobs on one session."""

    def __init__(self, job: str, open_store: Callable[..., Backend], key: str) -> None:
        pickled = base64.b64encode(pickle.dumps(open_store)).decode()
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and this module
            [sys.executable, "-m", __spec__.name if __spec__ else __name__, job, key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(json.dumps({"path": sys.path, "open": pickled}))

    def wait_until_ready(self) -> None:
        """Return when it has opened the store."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == READY, "see its standard error"

    def begin(self) -> None:
        """Start the job."""
        self._send("go")

    def end(self) -> None:
        """Wait for the process to end; fail unless it ended well."""
        self._process.communicate(timeout=120)
        assert self._process.returncode == 0, "see its standard error"

    def kill(self) -> None:
        """Kill it as ``kill -9`` does."""
        self._process.kill()
        self._process.communicate()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


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
    """Count to `TIMES`, then close the store."""
    for _ in range(TIMES):
        add_one(backend, key)
        assert backend.sessions.load(key) is not None
    backend.close()


def write(backend: Backend, key: str) -> None:
    """Save one version after another until the process is killed."""
    record = backend.sessions.load(key)
    assert record is not None
    version = record.version
    while True:
        body, expires_at = body_of(version + 1), time.time() + 1000
        version = backend.sessions.save(key, body, expires_at, expected_version=version)


def main() -> None:
    """Open the store, say so, and do the job when told to."""
    job, key = sys.argv[1:]
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    sys.path[:] = told["path"]
    backend: Backend = pickle.loads(base64.b64decode(told["open"]))()  # noqa: S301  # the parent's
    backend.sessions.ping()
    print(READY, end="", flush=True)  # the parent reads it
    sys.stdin.readline()
    (count if job == "count" else write)(backend, key)


if __name__ == "__main__":
    main()
