"""Whose the session folder is: nothing of another user is trusted, nothing is open to others."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from wsgi_sessions.contract import Record
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import new_id, new_secret, store_key
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.store import open_url
from wsgi_sessions.stores.file.backend import open_files
from wsgi_sessions.stores.file.disk.ownership import Ownership
from wsgi_sessions.stores.file.secret import FileSecret
from wsgi_sessions.stores.file.sessions import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRANGER = 12345
FUTURE = time.time() + 10_000
KEY = store_key(new_id())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def with_a_session(folder: Path) -> Path:
    """The file of a session."""
    FileStore(str(folder)).create(KEY, b"payload", FUTURE)
    return folder / "sessions" / KEY[:2] / KEY


def secret_of(folder: Path) -> str:
    keeper = open_files(str(folder)).secret
    assert keeper is not None
    return keeper.secret()


# -- the folder ------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("name", [".", "FORMAT", "sessions"])
def test_a_folder_of_another_user_is_refused_with_owner_and_remedy(folder: Path, name: str) -> None:
    FileStore(str(folder))
    os.chown(folder / name, STRANGER, STRANGER)
    with pytest.raises(ConfigurationError, match=rf"{folder}.* belongs to user {STRANGER}.*chown"):
        FileStore(str(folder))


@needs_root
def test_a_folder_that_another_user_prepared_with_a_session_in_it_is_refused(folder: Path) -> None:
    path = with_a_session(folder)
    for each in [folder, *folder.rglob("*")]:
        os.chown(each, STRANGER, STRANGER)
    os.chown(folder, 0, STRANGER)
    folder.chmod(0o770)
    with pytest.raises(ConfigurationError, match=f"group {STRANGER} may write"):
        FileStore(str(folder))
    folder.chmod(0o700)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        FileStore(str(folder))
    assert path.exists()


@pytest.mark.parametrize("name", ["", "FORMAT", "sessions"])
def test_a_link_in_the_place_of_the_folder_is_refused(folder: Path, name: str) -> None:
    FileStore(str(folder))
    here, elsewhere = folder / name, folder.parent / "elsewhere"
    here.rename(elsewhere)
    here.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="is a link"):
        FileStore(str(folder))


def test_a_network_file_system_that_maps_this_user_to_another_is_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mapped(call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def status(*args: Any, **more: Any) -> os.stat_result:
            found = call(*args, **more)
            return os.stat_result((*found[:4], STRANGER, *found[5:]))

        return status

    with_a_session(folder)
    for name in ("fstat", "lstat"):
        monkeypatch.setattr(os, name, mapped(getattr(os, name)))
    assert FileStore(str(folder)).load(KEY) == Record(1, b"payload", FUTURE)
    assert not list(folder.glob(".probe-*"))


def test_a_folder_that_kubernetes_opened_to_the_pods_group_is_closed_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = secret_of(folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o2770 if path.is_dir() else 0o660))
    caplog.clear()
    assert secret_of(folder) == secret
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    closed = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(closed) == 2
    assert all("fsGroupChangePolicy" in text for text in closed)
    assert all("`secret_keys`" in text for text in closed)


@needs_root
def test_a_group_may_write_only_if_a_setting_names_it(folder: Path) -> None:
    FileStore(str(folder))
    os.chown(folder, 0, STRANGER)
    folder.chmod(0o2770)
    with pytest.raises(ConfigurationError, match=f"`folder_group`={STRANGER}"):
        FileStore(str(folder))
    with pytest.raises(ConfigurationError, match="may write"):
        FileStore(str(folder), group="54321")
    backend = open_url(f"file://{folder}", Config(url="memory://", folder_group=str(STRANGER)))
    assert backend.advice is not None
    assert not [text for text in backend.advice.warnings() if "mode" in text]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_a_group_that_does_not_exist_stops_the_start(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="`folder_group`=no-such-group"):
        FileStore(str(folder), group="no-such-group")


def test_where_modes_are_not_kept_the_advice_is_about_the_mount(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def keep_no_mode(path: str, _mode: int) -> None:
        make(path)
        os.chmod(path, 0o777)

    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(os, "mkdir", keep_no_mode)
    with pytest.raises(ConfigurationError, match=r"keeps no modes.*dir_mode=0700") as caught:
        FileStore(str(folder))
    assert "name a new folder inside it" not in str(caught.value)
    assert not list(folder.iterdir())


# -- the secret ------------------------------------------------------------------------------------


@needs_root
def test_a_secret_of_another_user_is_refused_to_a_root_worker_too(folder: Path) -> None:
    secret_of(folder)
    os.chown(folder / "secret", STRANGER, STRANGER)
    with pytest.raises(ConfigurationError, match=f"secret.*belongs to user {STRANGER}"):
        secret_of(folder)


def test_a_secret_of_a_user_other_than_this_one_and_root_is_refused(folder: Path) -> None:
    secret_of(folder)
    keeper = FileSecret(str(folder), Ownership(frozenset({STRANGER})))
    with pytest.raises(ConfigurationError, match="belongs to user"):
        keeper.secret()


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.with_name("other").write_text(new_secret())
    path.symlink_to(path.with_name("other"))


def make_binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def make_zeros(path: Path) -> None:
    path.write_bytes(bytes(64))


def make_short(path: Path) -> None:
    path.write_text("too short\n")


def make_empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    "make",
    [make_folder, make_link, make_binary, make_zeros, make_short, make_empty, os.mkfifo],
)
def test_an_invalid_secret_stops_the_start_with_a_clear_error(folder: Path, make: Any) -> None:
    open_files(str(folder))
    make(folder / "secret")
    if not (folder / "secret").is_dir():
        (folder / "secret").chmod(0o600)
    with pytest.raises(ConfigurationError, match=rf"{folder}/secret.*`secret_keys`"):
        secret_of(folder)


# -- records ---------------------------------------------------------------------------------------


def test_a_file_of_gigabytes_is_not_a_record_and_is_never_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_a_session(folder)
    store = FileStore(str(folder))
    os.truncate(path, 5 << 30)
    read = os.read

    def read_little(fd: int, size: int) -> bytes:
        assert size < 1 << 20
        return read(fd, size)

    monkeypatch.setattr(os, "read", read_little)
    assert store.load(KEY) is None
    assert store.quarantined() == 1
    other = store_key(new_id())
    store.create(other, b"x" * 100_000, FUTURE)
    assert store.load(other) is not None
