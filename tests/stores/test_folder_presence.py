"""A session folder in use that loses files or itself: what is safe goes on without a restart."""

from __future__ import annotations

import os
import shutil
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest
from abilities_of_folders import abilities
from overlapping import Sessions, Site, cookie_in

from wsgi_sessions.contract import Context
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.file.backend import open_files
from wsgi_sessions.stores.file.disk import presence
from wsgi_sessions.stores.file.disk.mounts import Mount
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend

ABSENT = store_key(new_id())
LONG_AGO = time.time() - 9 * 86400
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def backend(folder: Path) -> Backend:
    return open_files(str(folder))


def secret_in(backend: Backend) -> str:
    assert backend.secret is not None
    return backend.secret.secret()


def sweep(backend: Backend) -> None:
    Sweeper(backend, interval=60).sweep()


# -- what removes old files ------------------------------------------------------------------------


def test_a_format_that_was_removed_is_made_again_and_said_so(
    backend: Backend, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(backend)
    session_id = sessions.new(n=1)
    (folder / "FORMAT").unlink()
    assert sessions.seen(session_id) == (None, {"n": 1})
    assert backend.sessions.load(ABSENT) is None
    assert (folder / "FORMAT").exists()
    assert backend.sessions.load(ABSENT) is None
    assert caplog.text.count("made again") == 1
    assert "systemd-tmpfiles" in caplog.text


def test_a_sweep_brings_format_and_the_secret_back(
    backend: Backend, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = secret_in(backend)
    (folder / "FORMAT").unlink()
    (folder / "secret").unlink()
    sweep(backend)
    assert secret_in(open_files(str(folder))) == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert secret not in caplog.text
    assert caplog.text.count("made again") == 2
    assert {path.name for path in folder.iterdir() if path.is_file()} == {"FORMAT", "secret"}


def test_a_secret_that_was_never_asked_for_is_not_made_by_a_sweep(
    backend: Backend, folder: Path
) -> None:
    sweep(backend)
    assert not (folder / "secret").exists()


def test_a_sweep_leaves_another_secret_alone(backend: Backend, folder: Path) -> None:
    secret_in(backend)
    (folder / "secret").write_text("x" * 64)
    sweep(backend)
    assert (folder / "secret").read_text() == "x" * 64


def test_a_sweep_keeps_all_that_lasts_from_looking_old(backend: Backend, folder: Path) -> None:
    store: Any = backend
    secret_in(backend)
    store.versions.bump("league")
    store.contexts.set("alice", "team", Context(b"x", 1.0))
    store.leases.acquire(ABSENT, "holder", 60)
    names = ("FORMAT", "secret", "versions", "contexts", "processes")
    paths = [path for name in names for path in [folder / name, *(folder / name).rglob("*")]]
    files = [path for path in paths if path.is_file()]
    assert len(files) >= len(names)
    for path in files:
        os.utime(path, (LONG_AGO, LONG_AGO))
    sweep(backend)
    old = [path for path in files if path.exists() and path.stat().st_mtime < time.time() - 3600]
    assert old == []
    assert store.contexts.get("alice", "team") == Context(b"x", 1.0)
    assert store.leases.holders(ABSENT) == 1


# -- a folder that is lost -------------------------------------------------------------------------


def test_a_lost_folder_is_a_fault_until_it_is_made_again_by_hand(
    backend: Backend, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(backend)
    old = sessions.new(n=1)
    shutil.rmtree(folder)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=rf"gone or not mounted.*mkdir -m 700 {folder}"):
            sessions.seen(old)
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    assert sessions.seen(old) == (None, {})
    new = sessions.login(sessions.new(n=2), "alice")
    assert sessions.seen(new) == ("alice", {"n": 2})
    assert "made again" in caplog.text


def test_every_operation_works_in_a_folder_that_was_made_again(folder: Path) -> None:
    for name in abilities(open_files(str(folder))):
        backend = open_files(str(folder))
        for operation in ("create", "index", "set context", "bump", "schedule", "acquire"):
            abilities(backend)[operation]()
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        if name != "save":  # the session is gone
            abilities(backend)[name]()
        shutil.rmtree(folder)


def test_an_application_goes_on_in_a_folder_that_was_made_again(folder: Path) -> None:
    site = Site(f"file://{folder}")
    site.pages["/write"] = lambda session: session.increment("n")
    cookie = cookie_in(site.get("/write"))
    shutil.rmtree(folder)
    assert site.get("/write", cookie).status == 503
    folder.mkdir(mode=0o700)
    again = cookie_in(site.get("/write", cookie))
    assert again not in ("", cookie)
    assert site.get("/read", again).body == b"(None, {'n': 1})"


def test_a_folder_that_is_not_mounted_stays_a_fault(
    backend: Backend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(presence, "mount_of", lambda _: Mount("/elsewhere", "ext4"))
    with pytest.raises(StoreUnavailable, match="another file system than before"):
        backend.sessions.load(ABSENT)
    assert list(folder.iterdir()) == []


@needs_root
@pytest.mark.parametrize("how", ["of another user", "open to all", "link"])
def test_a_folder_that_another_user_made_again_is_not_taken(
    backend: Backend, folder: Path, how: str
) -> None:
    shutil.rmtree(folder)
    if how == "link":
        (folder.parent / "other").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "other")
    else:
        folder.mkdir(mode=0o700)
        os.chown(folder, *((12345, 12345) if how == "of another user" else (0, 0)))
        folder.chmod(0o777 if how == "open to all" else 0o700)
    with pytest.raises(StoreUnavailable):
        backend.sessions.load(ABSENT)
    with pytest.raises(StoreUnavailable):
        backend.sessions.create(ABSENT, b"x", time.time() + 60)
    assert not (folder / "FORMAT").exists()
