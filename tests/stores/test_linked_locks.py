"""A lock counts only while its path leads to the locked file: device and inode, not link counts."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.errors import LockTimeout, SessionGone, StoreUnavailable, VersionConflict
from wsgi_sessions.stores.file.backend import open_files
from wsgi_sessions.stores.file.disk import locking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsgi_sessions.contract import Backend

KEY = "ab" * 32
FUTURE = 4e9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def backend(folder: Path) -> Backend:
    return open_files(str(folder), timeout=10)


@pytest.fixture
def wait_begins(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a caller has opened a file, found its lock taken, and waits for it."""
    begun, wait = threading.Event(), locking.wait_for_lock

    def spy(*args: Any) -> None:
        begun.set()
        wait(*args)

    monkeypatch.setattr(locking, "wait_for_lock", spy)
    return begun


def outcome_while(
    path: Path, begun: threading.Event, act: Callable[[], object], change: Callable[[], object]
) -> list[object]:
    """What comes of `act`, which waits for the lock of `path` while `change` is made."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(act())
        except (SessionGone, VersionConflict) as error:
            outcome.append(type(error))

    thread = threading.Thread(target=run)
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread.start()
        assert begun.wait(10)
        change()
    thread.join(10)
    return outcome


def keep_a_link(path: Path) -> None:
    """As a backup by `cp -al` does."""
    os.link(path, path.parent.parent.parent / f"backup-{path.name}")


def record_path(folder: Path) -> Path:
    return folder / "sessions" / KEY[:2] / KEY


def test_a_save_that_waited_does_not_write_to_a_linked_backup_of_a_dead_session(
    folder: Path, backend: Backend, wait_begins: threading.Event
) -> None:
    backend.sessions.create(KEY, b"one", FUTURE)
    path = record_path(folder)
    keep_a_link(path)
    outcome = outcome_while(
        path,
        wait_begins,
        lambda: backend.sessions.save(KEY, b"late", FUTURE, expected_version=1),
        path.unlink,
    )
    assert outcome == [SessionGone]
    assert backend.sessions.load(KEY) is None


def test_a_save_that_waited_does_not_write_to_a_file_renamed_by_nfs(
    folder: Path, backend: Backend, wait_begins: threading.Event
) -> None:
    backend.sessions.create(KEY, b"one", FUTURE)
    path = record_path(folder)
    outcome = outcome_while(
        path,
        wait_begins,
        lambda: backend.sessions.save(KEY, b"late", FUTURE, expected_version=1),
        lambda: path.rename(path.with_name(".nfs0001")),
    )
    assert outcome == [SessionGone]


def test_a_save_that_waited_goes_to_the_file_that_is_there_now(
    folder: Path, backend: Backend, wait_begins: threading.Event
) -> None:
    """Another one under the same name: a session that outgrew its file, or was restored."""
    backend.sessions.create(KEY, b"one", FUTURE)
    path = record_path(folder)

    def replace() -> None:
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        copy.replace(path)

    outcome = outcome_while(
        path,
        wait_begins,
        lambda: backend.sessions.save(KEY, b"late", FUTURE, expected_version=1),
        replace,
    )
    assert outcome == [2]
    record = backend.sessions.load(KEY)
    assert record is not None
    assert (record.payload, record.version) == (b"late", 2)


def test_two_never_hold_the_lock_of_a_session_whose_lock_file_has_a_second_link(
    folder: Path, backend: Backend, wait_begins: threading.Event
) -> None:
    inside = threading.Event()
    leave = threading.Event()

    def second() -> None:
        with backend.locks.hold(KEY, 10):
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=second)
    with backend.locks.hold(KEY, 1):
        os.link(folder / "locks" / KEY, folder.parent / "backup")
        wait_begins.clear()
        thread.start()
        assert wait_begins.wait(10)
    assert inside.wait(10)
    with pytest.raises(LockTimeout), backend.locks.hold(KEY, 0.02):
        pytest.fail("held twice")
    leave.set()
    thread.join(10)


def test_a_clean_up_leaves_the_name_of_a_lock_file_that_was_made_again(
    folder: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep opened the file; before it locks that, the holder leaves and another one enters."""
    path = folder / "locks" / KEY
    path.parent.mkdir()
    path.touch()
    try_lock = locking.try_lock

    def others_first(fd: int) -> bool:
        if path.stat().st_ino == os.fstat(fd).st_ino:
            keep = os.dup(fd)  # else the new file may get the same inode
            path.unlink()
            path.touch()
            monkeypatch.setattr(locking, "try_lock", try_lock)
            try:
                return try_lock(fd)
            finally:
                os.close(keep)
        return try_lock(fd)

    monkeypatch.setattr(locking, "try_lock", others_first)
    assert locking.remove_if_unlocked(str(path)) is False
    assert path.exists()


def test_a_lease_that_waited_is_not_put_into_a_table_that_was_replaced(
    folder: Path, backend: Backend, wait_begins: threading.Event
) -> None:
    leases = backend.leases
    assert leases is not None
    leases.acquire(KEY, "one", 30)
    path = folder / "leases" / KEY[:2] / KEY
    keep_a_link(path)
    outcome_while(path, wait_begins, lambda: leases.acquire(KEY, "two", 30), path.unlink)
    assert leases.holders(KEY) == 1, "the second one, in a table that others find"
    assert path.exists()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.ESTALE, errno.ENOLCK])
def test_a_fault_of_a_lock_file_is_a_fault_of_the_store(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """gunicorn takes a raw OSError for the client's connection, and closes without an answer."""

    def fail(*_: object) -> bool:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locking, "try_lock", fail)
    with pytest.raises(StoreUnavailable), backend.locks.hold(KEY, 1):
        pytest.fail("entered")


def test_a_fault_of_a_lock_file_that_passes_is_not_noticed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_lock = locking.try_lock

    def fail_once(fd: int) -> bool:
        monkeypatch.setattr(locking, "try_lock", try_lock)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(locking, "try_lock", fail_once)
    with backend.locks.hold(KEY, 1):
        pass


def test_a_link_in_the_place_of_a_lock_is_a_fault_of_the_store(
    folder: Path, backend: Backend
) -> None:
    (folder / "locks").mkdir()
    (folder / "locks" / KEY).symlink_to(folder / "FORMAT")
    with pytest.raises(StoreUnavailable), backend.locks.hold(KEY, 1):
        pytest.fail("entered")
    versions = backend.versions
    assert versions is not None
    (folder / "versions").mkdir()
    (folder / "versions" / "lock").symlink_to(folder / "FORMAT")
    with pytest.raises(StoreUnavailable):
        versions.bump("global")
