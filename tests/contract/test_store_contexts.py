"""The contract of `ContextStore`, held against every store."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opened_places import open_place
from sqlalchemy import insert, select
from store_urls import LONG_BESIDE_SESSIONS, STORES, TAKING_OVER, Place, of_the_table

from wsgi_sessions.contract import Backend, Context, ContextStore
from wsgi_sessions.errors import CorruptRecord, LockTimeout, StoreUnavailable, UnsupportedFormat
from wsgi_sessions.stores.context_records import digest, pack, unpack
from wsgi_sessions.stores.file.disk.locking import locked_path
from wsgi_sessions.stores.sql.schema import contexts as sql_contexts
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.testing import ContextStoreContract, StoreUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator


BOBS = ("bob", "deal")
FIRST, SECOND = Context(b"\x00first\xff", 1.5), Context(b"second", 2_000_000_000.25)


@pytest.fixture(scope="module", params=of_the_table(long=LONG_BESIDE_SESSIONS))
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store: its name in the table, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


@pytest.fixture
def contexts(place: Place) -> Iterator[ContextStore]:
    opened = place.open()
    yield of(opened)
    opened.close()


def of(backend: Backend) -> ContextStore:
    assert backend.contexts is not None
    return backend.contexts


class TestContexts(ContextStoreContract):
    """What a store of another project would be held to."""

    @pytest.fixture
    def store(self, place: Place) -> StoreUnderTest:
        return StoreUnderTest(
            partial(open_place, place.own_url, place.prefix),
            processes="one" if place.name == "memory" else "all",
        )


# -- what lies there -------------------------------------------------------------------------------


def test_damage_is_found() -> None:
    data = pack("alice", "deal", FIRST)
    assert unpack(data) == ("alice", "deal", FIRST)
    for end in range(len(data)):
        with pytest.raises(CorruptRecord):
            unpack(data[:end])
    for place in range(1, len(data)):
        with pytest.raises(CorruptRecord):
            unpack(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(CorruptRecord):
        unpack(pack("alice", "deal", Context(b"", float("nan"))))
    with pytest.raises(UnsupportedFormat):
        unpack(b"\x02" + data[1:])


def copy_context(place: Place, backend: Backend, source: tuple[str, str]) -> None:
    """Somebody who can write to the store copies a context to where bob's "deal" lies."""
    contexts: Any = of(backend)
    if place.name == "file":
        shards = Path(place.url.removeprefix("file://")) / "contexts"
        mine, theirs = (shards / digest(*key)[:2] / digest(*key) for key in (source, BOBS))
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_bytes(mine.read_bytes())
        theirs.chmod(0o600)
    elif place.name in ("sqlite", "postgresql", "mariadb"):
        engine = contexts._engine
        key = sql_contexts.c.id
        record = select(sql_contexts.c.record).where(key == digest(*source)).scalar_subquery()
        row = {"id": digest(*BOBS), "record": record}
        engine.run("copy", None, lambda c: c.execute(insert(sql_contexts).values(row)))
    else:
        execute = contexts._executor.execute
        value = execute("copy", None, "HGET", contexts._of(source[0]), source[1])
        execute("copy", None, "HSET", contexts._of(BOBS[0]), BOBS[1], value)


@pytest.mark.parametrize("source", [("alice", "deal"), ("alice", "fund"), ("bob", "fund")])
def test_a_context_is_bound_to_its_owner_and_name(place: Place, source: tuple[str, str]) -> None:
    """As a session's record is bound to its id."""
    if place.name in ("memory", TAKING_OVER):
        pytest.skip("memory is of one process")
    backend = place.open()
    contexts = of(backend)
    contexts.set(*source, FIRST)
    copy_context(place, backend, source)
    assert contexts.get(*BOBS) is None
    assert contexts.get(*source) == FIRST
    contexts.set(*BOBS, SECOND)
    assert contexts.get(*BOBS) == SECOND
    backend.close()


def test_a_context_in_anothers_place_is_not_listed_as_its(place: Place) -> None:
    if place.name in ("memory", TAKING_OVER):
        pytest.skip("memory is of one process")
    backend = place.open()
    of(backend).set("alice", "deal", FIRST)
    copy_context(place, backend, ("alice", "deal"))
    assert list(of(backend).items()) == [("alice", "deal", FIRST)]
    backend.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "contexts").rglob("*") if path.is_file()]


def test_files_are_private(folder: Path) -> None:
    of(open_backend(f"file://{folder}")).set("alice", "deal", FIRST)
    (path,) = files(folder)
    assert path.stat().st_mode & 0o777 == 0o600
    for parent in (path.parent, path.parent.parent):
        assert parent.stat().st_mode & 0o777 == 0o700
    assert "alice" not in str(path)


@pytest.mark.parametrize("damage", ["empty", "torn", "a link", "a folder"])
def test_a_damaged_file_is_set_aside_and_nothing_is_remembered(folder: Path, damage: str) -> None:
    contexts = of(open_backend(f"file://{folder}"))
    contexts.set("alice", "deal", FIRST)
    (path,) = files(folder)
    content = path.read_bytes()
    path.unlink()
    if damage == "a link":
        path.symlink_to("/etc/passwd")
    elif damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else content[:-1])
    assert contexts.get("alice", "deal") is None
    assert len(list((folder / "quarantine").iterdir())) == 1
    contexts.set("alice", "deal", SECOND)
    assert contexts.get("alice", "deal") == SECOND


def test_a_folder_that_is_gone_is_a_fault_and_no_absence(folder: Path) -> None:
    contexts = of(open_backend(f"file://{folder}"))
    contexts.set("alice", "deal", FIRST)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable):
        contexts.get("alice", "deal")
    with pytest.raises(StoreUnavailable):
        contexts.set("alice", "deal", SECOND)
    with pytest.raises(StoreUnavailable):
        contexts.clear("alice", "deal")
    folder.with_name("elsewhere").rename(folder)
    assert contexts.get("alice", "deal") == FIRST


def test_the_remains_of_a_killed_writer_do_no_harm(folder: Path) -> None:
    backend = open_backend(f"file://{folder}", fsync="full")
    of(backend).set("alice", "deal", FIRST)
    program = f"""
import os, signal
os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from wsgi_sessions.contract import Context
from wsgi_sessions.stores.urls import open_backend
open_backend("file://{folder}").contexts.set("alice", "deal", Context(b"lost", 1.0))
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(files(folder)) == 2
    assert [found for _, _, found in of(backend).items()] == [FIRST]
    assert of(backend).get("alice", "deal") == FIRST
    of(backend).set("alice", "deal", SECOND)
    assert of(backend).get("alice", "deal") == SECOND
    assert len(files(folder)) == 1


def test_a_lock_that_is_never_free_is_a_fault(folder: Path) -> None:
    contexts = of(open_backend(f"file://{folder}", timeout=0.05))
    contexts.set("alice", "deal", FIRST)
    (path,) = files(folder)
    with locked_path(str(folder / "locks" / f"context-{path.name}"), 1.0, path.name):
        with pytest.raises(LockTimeout):
            contexts.set("alice", "deal", SECOND)
        with pytest.raises(LockTimeout):
            contexts.clear("alice", "deal")
        assert contexts.get("alice", "deal") == FIRST


def test_a_shard_that_is_not_a_folder_is_a_fault(folder: Path) -> None:
    contexts = of(open_backend(f"file://{folder}"))
    contexts.set("alice", "deal", FIRST)
    (path,) = files(folder)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    with pytest.raises(StoreUnavailable):
        contexts.get("alice", "deal")
    with pytest.raises(StoreUnavailable):
        contexts.set("alice", "deal", SECOND)
