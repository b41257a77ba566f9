"""The contract of `VersionStamps`, held against every store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from databases import DATABASES
from store_urls import LONG_BESIDE_SESSIONS, STORES, Place, of_the_table

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.versions.policy import CachedStamps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend, VersionStamps

ODD_SCOPES = ["../../etc/passwd", "*", "{x}", "a b\nc", "league:5", "é", "\udc80", "x" * 4000]


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


def test_a_scope_begins_at_zero_and_grows_by_one(stamps: VersionStamps) -> None:
    assert stamps.current(["global", "league:5"]) == {"global": 0, "league:5": 0}
    assert [stamps.bump("global") for _ in range(3)] == [1, 2, 3]
    assert stamps.bump("league:5") == 1
    assert stamps.current(["global", "league:5", "other"]) == {
        "global": 3,
        "league:5": 1,
        "other": 0,
    }
    assert stamps.current([]) == {}


def test_a_bump_reaches_at_least_the_requested_version(stamps: VersionStamps, place: Place) -> None:
    assert stamps.bump("global", least=7) == 7
    assert stamps.bump("global", least=7) == 8
    assert stamps.bump("global", least=3) == 9
    assert stamps.bump("global", least=20) == 20
    assert stamps.bump("global") == 21
    assert stamps.current(["global"]) == {"global": 21}
    kept = 1 if place.name in (*DATABASES, "mariadb") else 3
    assert [bump.version for bump in stamps.history("global", 3)] == [21, 20, 9][:kept]


def test_a_scope_is_any_text_and_never_a_path_or_a_pattern(
    stamps: VersionStamps, place: Place, tmp_path: Path
) -> None:
    for times, scope in enumerate(ODD_SCOPES, 1):
        for _ in range(times):
            stamps.bump(scope)
    found = stamps.current(ODD_SCOPES)
    assert [found[scope] for scope in ODD_SCOPES] == list(range(1, len(ODD_SCOPES) + 1))
    if place.name == "file":
        assert os.listdir(tmp_path) == ["sessions"]


def test_the_history_is_newest_first_and_bounded(stamps: VersionStamps, place: Place) -> None:
    kept = 1 if place.name in (*DATABASES, "mariadb") else 100
    assert stamps.history("global") == []
    for _ in range(130):
        stamps.bump("global")
    latest = stamps.history("global", 3)
    assert [bump.version for bump in latest] == [130, 129, 128][:kept]
    assert time.time() - 600 < latest[-1].at <= latest[0].at < time.time() + 600
    assert len(stamps.history("global")) == min(20, kept)
    whole = stamps.history("global", 1000)
    assert [bump.version for bump in whole] == list(range(130, 130 - kept, -1))
    assert stamps.history("global", 0) == []


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


def test_sessions_and_stamps_do_not_meet(backend: Backend, stamps: VersionStamps) -> None:
    stamps.bump("global")
    assert list(backend.iteration.keys()) == []
    assert backend.iteration.count() == 0
    if backend.leftovers is not None:
        backend.leftovers.remove_leftovers()
    assert stamps.current(["global"]) == {"global": 1}


_BUMPER = """
import sys
from wsgi_sessions.stores.urls import open_backend
backend = open_backend(sys.argv[1], key_prefix=sys.argv[2], timeout=20.0)
print("ready", flush=True)
sys.stdin.readline()
print(*[backend.versions.bump("global") for _ in range(40)], flush=True)
"""


def test_bumps_of_several_processes_all_count(stamps: VersionStamps, place: Place) -> None:
    if place.name == "memory":
        pytest.skip("memory belongs to one process")
    command = [sys.executable, "-c", _BUMPER, place.own_url, place.prefix]
    pipe = subprocess.PIPE
    bumpers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for bumper in bumpers:
        assert bumper.stdout is not None
        assert bumper.stdout.readline() == "ready\n"
    for bumper in bumpers:  # all are at the start now
        assert bumper.stdin is not None
        bumper.stdin.write("\n")
        bumper.stdin.flush()
    seen = []
    while any(bumper.poll() is None for bumper in bumpers):
        seen.append(stamps.current(["global"])["global"])
    outputs = [bumper.communicate()[0].split() for bumper in bumpers]
    assert [bumper.returncode for bumper in bumpers] == [0] * 4
    for output in outputs:
        assert output == sorted(output, key=int)
    assert sorted(int(n) for output in outputs for n in output) == list(range(1, 161))
    assert seen == sorted(seen), "a reader saw the version fall"
    assert stamps.current(["global"]) == {"global": 160}


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
