"""A store that takes no writes: pages that only read are served, and nothing is prolonged."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import databases
import pytest
from database_servers import missing_mariadb
from overlapping import Sessions, Site, cookie_in
from redis_servers import RedisServer, available
from requirements_of_tests import require
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool
from store_urls import mariadb_url, postgresql_url, sqlite_url

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.commit.prolonging import PAUSE_SECONDS, Prolonger
from wsgi_sessions.core.draft import Snapshot
from wsgi_sessions.core.record.envelope import Envelope
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from wsgi_sessions.contract import Backend

LATER = 2 * 3600.0  # more than 5 % of the idle lifetime: the expiry is due to move


def refusing_files(error: int) -> Callable[[Path], AbstractContextManager[tuple[str, Any]]]:
    """The system refuses to open files for writing, or to write into them."""

    @contextmanager
    def opened(folder: Path) -> Iterator[tuple[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            yield f"file://{folder}/sessions", lambda: refuse_writes(patch, error)

    return opened


def refuse_writes(patch: pytest.MonkeyPatch, error: int) -> None:
    opens = os.open

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(error, os.strerror(error))

    def open_to_read(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse()
        return opens(path, flags, *args, **more)

    if error == errno.ENOSPC:
        patch.setattr(os, "pwrite", refuse)
    else:
        patch.setattr(os, "open", open_to_read)
    for name in ("mkdir", "rename", "unlink", "link"):
        patch.setattr(os, name, refuse)


def refusing_redis(*command: str) -> Callable[[Path], AbstractContextManager[tuple[str, Any]]]:
    @contextmanager
    def opened(_: Path) -> Iterator[tuple[str, Any]]:
        require(available())
        with RedisServer() as server:
            yield server.url, lambda: server.command(*command)

    return opened


@contextmanager
def refusing_sqlite(folder: Path) -> Iterator[tuple[str, Any]]:
    url = sqlite_url(folder)

    def refuse() -> None:
        with closing(sqlite3.connect(make_url(url).database or "")) as connection:
            connection.execute(
                "CREATE TRIGGER t BEFORE UPDATE ON wsgi_sessions "
                "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
            )

    yield url, refuse


@contextmanager
def refusing_postgresql(_: Path) -> Iterator[tuple[str, Any]]:
    url = postgresql_url()
    database = databases.Database("postgresql", url, url)
    name = database.run("SELECT current_database()")[0][0]
    yield (
        url,
        lambda: database.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'),
    )


@contextmanager
def refusing_mariadb(_: Path) -> Iterator[tuple[str, Any]]:
    require(missing_mariadb())
    url = mariadb_url()
    parts = make_url(url)
    name = f"reader_{parts.database}"[:32]

    def run(*statements: str) -> None:
        engine = create_engine(url.replace("mariadb:", "mariadb+pymysql:"), poolclass=NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    all_of_it = f"ON `{parts.database}`.* TO '{name}'@'localhost'"
    run(f"CREATE USER '{name}'@'localhost' IDENTIFIED BY 'x'", f"GRANT ALL {all_of_it}")
    reader = parts.set(username=name, password="x").render_as_string(hide_password=False)
    yield (
        reader,
        lambda: run(f"REVOKE INSERT, UPDATE ON `{parts.database}`.* FROM '{name}'@'localhost'"),
    )


REFUSALS = {  # not a full Redis: an expiry may be moved there
    "read-only disk": refusing_files(errno.EROFS),
    "files of another user": refusing_files(errno.EACCES),
    "full disk": refusing_files(errno.ENOSPC),
    "redis without replicas": refusing_redis("CONFIG", "SET", "min-replicas-to-write", "1"),
    "replica of redis": refusing_redis("REPLICAOF", "127.0.0.1", "1"),
    "sqlite": refusing_sqlite,
    "postgresql": refusing_postgresql,
    "mariadb": refusing_mariadb,
}


@pytest.fixture(params=REFUSALS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A store's URL, and what makes it take no writes from then on."""
    with REFUSALS[request.param](tmp_path) as place:
        yield place


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_page_that_only_reads_is_served_with_one_warning(
    place: tuple[str, Callable[[], object]], caplog: pytest.LogCaptureFixture
) -> None:
    url, refuse = place
    now = [wall_clock()]
    with closing(open_backend(url, timeout=5.0)) as backend:
        sessions = Sessions(backend, clock=lambda: now[0])
        session_id = sessions.login(sessions.new(n=1), "alice")
        before = sessions.begin(session_id).snapshot
        assert before is not None
        now[0] += LATER
        refuse()
        backend.close()  # new connections, which have the new rights
        for _ in range(3):
            request = sessions.begin(session_id)
            assert request.session["n"] == 1
            assert request.commit() == "unchanged"
            assert request.snapshot is not None
            assert request.snapshot.expires_at == pytest.approx(before.expires_at, abs=1)
        [warning] = warnings(caplog)
        assert "not prolonged" in warning
        assert sessions.reported("unavailable") == []
        with pytest.raises(StoreUnavailable):
            sessions.do(session_id, lambda session: session.update(n=2))


def test_an_application_on_a_read_only_disk_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(f"file://{tmp_path}/sessions")
    site.pages["/write"] = lambda session: session.update(n=1)
    cookie = cookie_in(site.get("/write"))
    monkeypatch.setattr(site.stack.manager, "_clock", lambda: wall_clock() + LATER)
    refuse_writes(monkeypatch, errno.EROFS)
    response = site.get("/read", cookie)
    assert (response.status, response.body) == (200, b"(None, {'n': 1})")
    assert site.get("/write", cookie).status == 503
    names = [event.name for event in site.events]
    assert (names.count("created"), names.count("unavailable")) == (1, 1)


class Refusing:
    """A store whose touches fail while it `refuses`."""

    def __init__(self) -> None:
        self.refuses: StoreUnavailable | None = StoreUnavailable("read-only", operation="touch")
        self.calls = 0

    def touch(self, key: str, expires_at: float) -> None:
        self.calls += 1
        if self.refuses is not None:
            raise self.refuses


def test_after_a_fault_nothing_is_tried_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store: Any = Refusing()
    now = [0.0]
    prolonger = Prolonger(store, clock=lambda: now[0])
    base = Snapshot("", "k", 1, 1.5, Envelope(0.0, b"", {}, {}))
    assert not prolonger.prolong(base, 1.0, 2.0)
    now[0] += PAUSE_SECONDS - 0.1
    assert not prolonger.prolong(base, 1.0, 2.0)
    assert store.calls == 1
    now[0] += 0.2
    assert not prolonger.prolong(base, 1.0, 2.0)
    assert (store.calls, len(warnings(caplog))) == (2, 1)
    store.refuses = None
    now[0] += PAUSE_SECONDS
    with caplog.at_level("INFO"):
        assert prolonger.prolong(base, 1.0, 2.0)
    assert "over since" in caplog.text


# -- what is over, or damaged ----------------------------------------------------------------------


def refusing(backend: Backend, *names: str) -> None:
    sessions: Any = backend.sessions

    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailable("read-only", operation="write")

    for part, name in ((sessions, "delete"), (backend.quarantine, "set_aside")):
        if name in names:
            setattr(part, name, refuse)


def test_a_session_past_its_absolute_lifetime_is_not_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [1_000_000.0]
    backend = open_memory(clock=lambda: now[0])
    lifetimes = Lifetimes(idle=1000, absolute=1000)
    sessions = Sessions(backend, clock=lambda: now[0], lifetimes=lifetimes)
    session_id = sessions.new(n=1)
    backend.sessions.touch(store_key(session_id), now[0] + 5000)
    now[0] += 1001
    refusing(backend, "delete")
    for _ in range(2):
        assert sessions.seen(session_id) == (None, {})
    assert len([text for text in warnings(caplog) if "records stay" in text]) == 1


def test_a_damaged_session_is_not_there_where_it_cannot_be_set_aside() -> None:
    backend = open_memory()
    sessions = Sessions(backend)
    session_id = sessions.new(n=1)
    key = store_key(session_id)
    backend.sessions.save(key, b"\0" * 60, wall_clock() + 600, expected_version=1)
    refusing(backend, "set_aside")
    assert sessions.seen(session_id) == (None, {})


@pytest.mark.parametrize("damage", ["rubbish", "folder", "torn"])
def test_a_damaged_file_on_a_read_only_disk_fails_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with ExitStack() as stack:
        backend = stack.enter_context(closing(open_backend(f"file://{tmp_path}/sessions")))
        sessions = Sessions(backend)
        session_id = sessions.new(n=1)
        key = store_key(session_id)
        path = tmp_path / "sessions" / "sessions" / key[:2] / key
        if damage == "rubbish":
            path.write_bytes(b"rubbish" * 1000)
        elif damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            data = bytearray(path.read_bytes())
            middle = 32 + (len(data) - 32) // 2
            data[middle : middle + 40] = b"x" * 40
            path.write_bytes(bytes(data))
        refuse_writes(monkeypatch, errno.EROFS)
        expected = {"n": 1} if damage == "torn" else {}
        assert sessions.seen(session_id) == (None, expected)
