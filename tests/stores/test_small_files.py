"""What the file store makes beside the records: private folders, and files replaced as a whole."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.replace import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_folder_is_private(tmp_path: Path) -> None:
    outer, inner = tmp_path / "index", tmp_path / "index" / "ab"
    make_private(str(outer), str(inner))
    make_private(str(outer), str(inner))
    assert [mode_of(outer), mode_of(inner)] == [0o700, 0o700]


def test_a_session_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_private(str(tmp_path / "gone" / "locks"))


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "table"
    replace_file(str(path), b"a long table")
    with path.open("rb") as reader:
        replace_file(str(path), b"short", fsync="full", modified_at=1000.0)
        assert reader.read() == b"a long table"
    assert path.read_bytes() == b"short"
    assert (mode_of(path), path.stat().st_mtime) == (0o600, 1000.0)
    assert os.listdir(tmp_path) == ["table"]


def test_the_remains_of_a_dead_writer_are_replaced_and_never_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "table", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (tmp_path / "table.new").symlink_to(elsewhere)
    replace_file(str(path), b"new")
    assert (path.read_bytes(), elsewhere.read_bytes()) == (b"new", b"not ours")
    assert not path.is_symlink()


def test_a_file_is_replaced_in_an_open_folder(tmp_path: Path) -> None:
    place = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        replace_file("left", b"1", fsync="full", mode=0o1600, place=place)
    finally:
        os.close(place)
    assert (tmp_path / "left").read_bytes() == b"1"
    assert mode_of(tmp_path / "left") in (0o1600, 0o600)
