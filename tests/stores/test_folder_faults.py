"""Whatever the system says of a session folder leaves the store as StoreUnavailable."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from abilities_of_folders import abilities

from wsgi_sessions.errors import SessionError
from wsgi_sessions.stores.file.backend import open_files

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend


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
