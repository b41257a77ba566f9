"""Files and folders of another user among ours, as a command that ran as root leaves them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contract import Context
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.file.backend import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend

WORKER = 12345
FUTURE = time.time() + 10_000
KEY = store_key(new_id())
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """As a process of this user, who may not read where this interpreter lies: what it needs is
    imported before."""
    for needed in ("pwd", "encodings.ascii", "encodings.idna"):
        import_module(needed)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        invalidate_caches()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A worker's session folder with a session in it, where another user can get to."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    folder = base / "sessions"
    folder.mkdir(mode=0o700)
    os.chown(folder, WORKER, WORKER)
    with as_user(WORKER):
        open_files(str(folder)).sessions.create(KEY, b"payload", FUTURE)
    yield folder
    shutil.rmtree(base)


SHARDS = [f"{number:02x}" for number in range(256)]


def test_a_record_of_another_user_is_a_fault_that_names_the_owner(folder: Path) -> None:
    path = folder / "sessions" / KEY[:2] / KEY
    os.chown(path, 54321, 54321)
    path.chmod(0o644)
    with as_user(WORKER):
        sessions = open_files(str(folder)).sessions
        acts: list[Callable[[], object]] = [
            lambda: sessions.load(KEY),
            lambda: sessions.save(KEY, b"x", FUTURE, expected_version=1),
            lambda: sessions.touch(KEY, FUTURE + 1),
            lambda: sessions.delete(KEY),
        ]
        for act in acts:
            with pytest.raises(StoreUnavailable, match=rf"{KEY} belongs to user 54321.*chown"):
                act()
    assert path.exists()


def acts_on(backend: Backend) -> dict[str, Callable[[], object]]:
    """What requests do, by the folder in which they do it."""
    assert backend.contexts is not None
    assert backend.versions is not None
    assert backend.leases is not None
    assert backend.refreshes is not None
    contexts, versions, leases = backend.contexts, backend.versions, backend.leases
    return {
        "sessions": lambda: backend.sessions.create(store_key(new_id()), b"x", FUTURE),
        "locks": lambda: backend.locks.hold(KEY, 1.0).__enter__(),
        "index": lambda: backend.index.add("alice", KEY, FUTURE),
        "contexts": lambda: contexts.set("alice", "deal", Context(b"x", 1.0)),
        "versions": lambda: versions.bump("global"),
        "leases": lambda: leases.acquire(KEY, "a-request", 30.0),
        "processes": lambda: leases.acquire(KEY, "another", 30.0),
        "refreshes": lambda: backend.refreshes.schedule(KEY, FUTURE),  # type: ignore[union-attr]
    }


@pytest.mark.parametrize(
    "name",
    ["sessions", "locks", "index", "contexts", "versions", "leases", "processes", "refreshes"],
)
def test_a_folder_of_another_user_in_ours_is_a_fault_that_names_the_owner(
    folder: Path, name: str
) -> None:
    made = folder / name
    made.mkdir(mode=0o700, exist_ok=True)
    if name == "sessions":
        for shard in SHARDS:
            (made / shard).mkdir(mode=0o700, exist_ok=True)
            os.chown(made / shard, 0, 0)
    else:
        os.chown(made, 0, 0)
    with as_user(WORKER):
        act = acts_on(open_files(str(folder)))[name]
        with pytest.raises(
            StoreUnavailable, match=rf"{made}\S* belongs to user root \(0\), and .*chown"
        ):
            act()


def test_a_request_is_answered_503_and_the_log_names_the_owner(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def application(
        environ: dict[str, object], start_response: Callable[..., object]
    ) -> list[bytes]:
        session = get_session(environ)
        with session.exclusive():
            session["visits"] = 1
        start_response("200 OK", [])
        return [b""]

    with as_user(WORKER):
        stack = build(application, Config(url=f"file://{folder}", sweep_interval=None))
        browser = Browser(stack)
        assert browser.get("/").status == 200
    (folder / "locks").mkdir(mode=0o700)
    with as_user(WORKER):
        assert browser.get("/").status == 503
    assert "belongs to user root (0)" in caplog.text
