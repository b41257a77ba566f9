"""Whatever the system says of a session folder leaves the store as StoreUnavailable."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.contract import Context
from wsgi_sessions.errors import SessionError
from wsgi_sessions.stores.file.backend import open_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wsgi_sessions.contract import Backend

KEY = "a" * 64
SOON = time.time() + 3600


def entered(context: AbstractContextManager[Any]) -> None:
    with context:
        pass


def abilities(backend: Any) -> dict[str, Callable[[], object]]:
    """Every operation that touches the folder."""
    sessions, context = backend.sessions, Context(b"", 1.0)
    return {
        "create": lambda: sessions.create(KEY, b"x", SOON),
        "load": lambda: sessions.load(KEY),
        "save": lambda: sessions.save(KEY, b"x", SOON, expected_version=1),
        "touch": lambda: sessions.touch(KEY, SOON + 60),
        "delete": lambda: sessions.delete(KEY),
        "ping": sessions.ping,
        "keys": lambda: list(backend.iteration.keys()),
        "count": backend.iteration.count,
        "index": lambda: backend.index.add("alice", KEY, SOON),
        "unindex": lambda: backend.index.remove("alice", KEY),
        "keys of": lambda: backend.index.keys_of("alice"),
        "lock": lambda: entered(backend.locks.hold(KEY, 0.1)),
        "set aside": lambda: backend.quarantine.set_aside(KEY, 1, "damaged"),
        "quarantined": backend.quarantine.quarantined,
        "delete expired": lambda: backend.expired.delete_expired(10),
        "count expired": backend.expired.count_expired,
        "elect": lambda: entered(backend.leftovers.elect(0)),
        "leftovers": backend.leftovers.remove_leftovers,
        "advice": backend.advice.warnings,
        "facts": backend.diagnosis.facts,
        "secret": backend.secret.secret,
        "versions": lambda: backend.versions.current(["league"]),
        "bump": lambda: backend.versions.bump("league"),
        "history": lambda: backend.versions.history("league"),
        "context": lambda: backend.contexts.get("alice", "team"),
        "set context": lambda: backend.contexts.set("alice", "team", context),
        "add context": lambda: backend.contexts.add("bob", "team", context),
        "clear context": lambda: backend.contexts.clear("alice", "team"),
        "contexts": lambda: list(backend.contexts.items()),
        "acquire": lambda: backend.leases.acquire(KEY, "holder", 5),
        "renew": lambda: backend.leases.renew(KEY, "holder", 5),
        "release": lambda: backend.leases.release(KEY, "holder"),
        "holders": lambda: backend.leases.holders(KEY),
        "claim": lambda: backend.leases.claim(KEY, "claimant", 5),
        "leases": lambda: list(backend.lease_listing.leases()),
        "schedule": lambda: backend.refreshes.schedule(KEY, 1.0),
        "due": lambda: backend.refreshes.due(2.0, 5),
        "unschedule": lambda: backend.refreshes.remove(KEY),
    }


def filled(folder: Path) -> Backend:
    backend = open_files(str(folder / "sessions"))
    for operation in ("create", "index", "set context", "bump", "schedule", "acquire"):
        abilities(backend)[operation]()
    return backend


@pytest.mark.parametrize(
    "call", ["open", "listdir", "scandir", "lstat", "unlink", "rename", "mkdir"]
)
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
def test_no_operation_lets_an_error_of_the_system_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    backend = filled(tmp_path)
    monkeypatch.setattr("wsgi_sessions.stores.file.disk.retries._RETRY_DELAYS", (0.0,))

    def failing(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    escaped = []
    for name, operation in abilities(backend).items():
        with monkeypatch.context() as broken:
            broken.setattr(os, call, failing)
            try:
                operation()
            except SessionError:
                pass
            except OSError as error:
                escaped.append(f"{name}: {error}")
    assert not escaped
