"""File systems without hard links (vfat, some FUSE and SMB mounts): nothing is replaced or left."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from wsgi_sessions.contract import Record
from wsgi_sessions.database import sqlite
from wsgi_sessions.errors import SessionExists, StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.linking import name_new_file
from wsgi_sessions.stores.file.backend import open_files

FUTURE = time.time() + 10_000
KEY = store_key(new_id())
REFUSALS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)


def failing(code: int) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.fixture(params=REFUSALS, ids=lambda code: errno.errorcode[code])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session folder on such a file system."""
    monkeypatch.setattr(os, "link", failing(request.param))
    return str(tmp_path / "sessions")


def test_sessions_and_the_secret_are_made_once(folder: str) -> None:
    first, second = open_files(folder), open_files(folder)
    first.sessions.create(KEY, b"first", FUTURE)
    with pytest.raises(SessionExists):
        second.sessions.create(KEY, b"second", FUTURE)
    assert second.sessions.load(KEY) == Record(1, b"first", FUTURE)
    assert first.secret is not None
    assert second.secret is not None
    assert first.secret.secret() == second.secret.secret()
    names = [path.name for path in Path(folder).rglob("*") if path.is_file()]
    assert sorted(names) == sorted(["FORMAT", "secret", KEY])


def test_an_expired_session_makes_room(folder: str) -> None:
    now = [time.time()]
    backend = open_files(folder, clock=lambda: now[0])
    backend.sessions.create(KEY, b"old", now[0] + 1)
    now[0] += 2
    backend.sessions.create(KEY, b"new", now[0] + 100)
    assert backend.sessions.load(KEY) == Record(1, b"new", now[0] + 100)


def test_one_of_two_processes_that_rename_at_once_waits(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(folder)
    path = f"{folder}/name"
    for text in ("first", "second"):
        Path(f"{path}.{text}").write_text(text)
    rename = os.rename

    def rename_while_another_comes(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(BlockingIOError):
            name_new_file(f"{path}.second", path, timeout=0)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_while_another_comes)
    name_new_file(f"{path}.first", path)
    with pytest.raises(FileExistsError):
        name_new_file(f"{path}.second", path)
    assert Path(path).read_text() == "first"


def test_a_session_that_takes_the_place_of_an_expired_one_first_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    backends = [open_files(str(tmp_path / "sessions"), clock=lambda: now[0]) for _ in range(2)]
    backends[0].sessions.create(KEY, b"expired", now[0] + 1)
    now[0] += 2
    files: Any = backends[0].sessions
    is_live = files._files._is_live

    def judged_before_another_creates(key: str) -> bool:
        files._files._is_live = is_live
        found: bool = is_live(key)
        backends[1].sessions.create(KEY, b"other's", now[0] + 100)
        return found

    files._files._is_live = judged_before_another_creates
    with pytest.raises(SessionExists):
        backends[0].sessions.create(KEY, b"mine", now[0] + 100)
    assert backends[1].sessions.load(KEY) == Record(1, b"other's", now[0] + 100)


def test_a_secret_that_cannot_be_named_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_files(str(tmp_path / "sessions"))
    monkeypatch.setattr(os, "link", failing(errno.EIO))
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        _ = backend.secret and backend.secret.secret()
    assert not list((tmp_path / "sessions").glob("secret*"))


def test_the_sweep_removes_a_secret_that_a_killed_worker_left(tmp_path: Path) -> None:
    backend = open_files(str(tmp_path / "sessions"))
    old, young = (tmp_path / "sessions" / f"secret.1-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("s" * 64)
    os.utime(old, (1.0, 1.0))
    assert backend.secret is not None
    secret = backend.secret.secret()
    assert backend.leftovers is not None
    assert backend.leftovers.remove_leftovers()["temporaries"] == 1
    assert (old.exists(), young.exists()) == (False, True)
    assert backend.secret.secret() == secret


def test_a_database_file_is_made_without_links_and_mknod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("link", "mknod"):
        monkeypatch.setattr(os, name, failing(errno.EPERM))
    path = tmp_path / "sessions.db"
    sqlite.make_file(str(path))
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    path.write_bytes(b"data")
    sqlite.make_file(str(path))
    assert path.read_bytes() == b"data"
