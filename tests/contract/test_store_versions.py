"""The contract of `VersionStamps`, held against every store."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from databases import DATABASES
from opened_places import open_place
from store_urls import LONG_BESIDE_SESSIONS, STORES, Place, of_the_table

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.testing import StoreUnderTest, VersionStampsContract
from wsgi_sessions.testing.contract.under_test import ODD_TEXTS
from wsgi_sessions.versions.policy import CachedStamps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend, VersionStamps


@pytest.fixture(scope="module", params=of_the_table(long=LONG_BESIDE_SESSIONS))
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store: its name in the table, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


@pytest.fixture
def stamps(backend: Backend) -> VersionStamps:
    assert backend.versions is not None
    return backend.versions


class TestStamps(VersionStampsContract):
    """What a store of another project would be held to."""

    @pytest.fixture
    def store(self, place: Place) -> StoreUnderTest:
        return StoreUnderTest(
            partial(open_place, place.own_url, place.prefix),
            processes="one" if place.name == "memory" else "all",
            bumps_kept=1 if place.name in (*DATABASES, "mariadb") else 100,
        )


def test_a_bump_makes_no_file_elsewhere(
    stamps: VersionStamps, place: Place, tmp_path: Path
) -> None:
    for scope in filter(None, ODD_TEXTS):
        stamps.bump(scope)
    if place.name == "file":
        assert os.listdir(tmp_path) == ["sessions"]


def test_a_process_that_was_not_there_learns_when_a_bump_was(
    stamps: VersionStamps, place: Place
) -> None:
    """By the times that the store keeps: to the second in SQL."""
    before = time.time()
    stamps.bump("global")
    cache = CachedStamps(stamps, wall=lambda: before + 3600)
    assert cache.current(["global"]).versions == {"global": 1}
    assert before - 5 < cache.times.missed_since("global", 0, 1) < before + 600
    if place.name not in (*DATABASES, "mariadb"):  # which keep the latest bump alone
        for _ in range(101):
            stamps.bump("global")
        assert cache.times.missed_since("global", 50, 102) > before - 5
        assert cache.times.missed_since("global", 1, 102) == 0.0, (
            "earlier ones may have been of any time"
        )


# -- files -------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> VersionStamps:
    stamps = open_backend(f"file://{tmp_path}/sessions").versions
    assert stamps is not None
    return stamps


def test_a_damaged_stamp_is_a_fault_and_never_zero(files: VersionStamps, tmp_path: Path) -> None:
    files.bump("global")
    (path,) = (p for p in (tmp_path / "sessions" / "versions").iterdir() if p.name != "lock")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-3], b"[]", b'{"bumps": [[1]]}'):
        path.write_bytes(damaged)
        with pytest.raises(StoreUnavailable, match="damaged"):
            files.current(["global"])
        with pytest.raises(StoreUnavailable, match="damaged"):
            files.bump("global")
    path.write_bytes(whole)
    assert files.bump("global") == 2


def test_the_remains_of_a_dead_writer_are_overwritten(files: VersionStamps, tmp_path: Path) -> None:
    files.bump("global")
    folder = tmp_path / "sessions" / "versions"
    (path,) = (p for p in folder.iterdir() if p.name != "lock")
    path.with_name(f"{path.name}.new").write_bytes(b"half")
    assert files.current(["global"]) == {"global": 1}
    assert files.bump("global") == 2
    assert sorted(os.listdir(folder)) == sorted([path.name, "lock"])
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_not_mounted_is_a_fault(files: VersionStamps, tmp_path: Path) -> None:
    files.bump("global")
    (tmp_path / "sessions").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        files.current(["global"])
