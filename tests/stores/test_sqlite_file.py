"""SQLite's file: its locks stay with the process, and its journal is not changed by surprise."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import SECRET
from sqlalchemy import text
from wsgi_client import Browser

from wsgi_sessions import from_env, get_session
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.database.sqlite import make_file
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.backend import migrate_schema, open_sql

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_VISIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
connection.close()
"""
_FORK = """
import os, subprocess, sys, time
from wsgi_sessions.stores.sql.backend import open_sql
url, visit, key = sys.argv[1:]
backend = open_sql(url, timeout=20.0)
backend.sessions.create(key, b"0", time.time() + 1000)
connected, go = os.pipe(), os.pipe()
child = os.fork()
if not child:
    backend.sessions.save(key, b"1", time.time() + 1000, expected_version=1)
    os.write(connected[1], b".")
    os.read(go[0], 1)
    backend.sessions.save(key, b"2", time.time() + 1000, expected_version=2)
    os._exit(0)  # as at a kill: nothing is closed
os.read(connected[0], 1)
backend.close()
subprocess.run([sys.executable, "-c", visit, url.removeprefix("sqlite:///")], check=True)
os.write(go[1], b".")
assert os.waitpid(child, 0)[1] == 0
print(open_sql(url).sessions.load(key).payload.decode())
"""
# Every way in which Python opens a file makes this event, but SQLite's own way.
_COMMANDS = """
import os, sys
from wsgi_sessions.cli import main
path = os.path.realpath(sys.argv[1])
def note(event, arguments):
    if event == "open" and os.path.realpath(os.fsdecode(arguments[0])) == path:
        print("OPENED", arguments)
sys.addaudithook(note)
for words in sys.argv[2:]:
    try:
        main(words.split())
    except SystemExit as end:
        assert end.code == 0, words
"""


def later(seconds: float = 1000.0) -> float:
    return time.time() + seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def key() -> str:
    return store_key(new_id())


def journal_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def visit(path: Path) -> None:
    """Another process connects and closes, as a backup does, or a command."""
    subprocess.run([sys.executable, "-c", _VISIT, str(path)], check=True, timeout=60)


# -- locks -----------------------------------------------------------------------------------------


def test_a_second_connection_leaves_the_locks_of_the_first(path: Path) -> None:
    """Without them another process takes itself for the last, and removes the write-ahead log."""
    url = f"sqlite:///{path}"
    migrate_schema(url)
    engine = connect_sql(parse_sql_url(url), 10.0, create="file")
    with engine.connect() as first, engine.connect() as second:
        first.execute(text("INSERT INTO wsgi_sessions_refreshes (key, due_at) VALUES ('first', 1)"))
        first.commit()
        assert second.execute(text("SELECT count(*) FROM wsgi_sessions_refreshes")).scalar() == 1
        second.rollback()
        visit(path)
        first.execute(
            text("INSERT INTO wsgi_sessions_refreshes (key, due_at) VALUES ('second', 2)")
        )
        first.commit()
        with closing(sqlite3.connect(path)) as other:
            keys = other.execute("SELECT key FROM wsgi_sessions_refreshes ORDER BY key").fetchall()
            assert keys == [("first",), ("second",)]
            assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    engine.dispose()


def test_a_forked_worker_takes_no_locks_for_its_own_that_its_parent_has(
    path: Path, key: str
) -> None:
    """The parent goes, another process comes and goes: the worker's update is still there."""
    url = f"sqlite:///{path}"
    migrate_schema(url)
    program = [sys.executable, "-W", "ignore", "-c", _FORK, url, _VISIT, key]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_no_command_opens_the_file_but_through_sqlite(path: Path) -> None:
    environ = {
        **os.environ,
        "WSGI_SESSIONS_URL": f"sqlite:///{path}",
        "WSGI_SESSIONS_SQL_SCHEMA": "create",
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
    }
    commands = ["migrate-schema", "count", "check", "list", "leases", "sweep", "purge"]
    program = [sys.executable, "-c", _COMMANDS, str(path), *commands]
    done = subprocess.run(
        program, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sessions" in done.stdout
    assert "OPENED" not in done.stdout


# -- the file --------------------------------------------------------------------------------------


def test_a_file_is_made_once_and_for_its_owner_alone(path: Path) -> None:
    make_file(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b""
    path.write_bytes(b"there")
    path.chmod(0o640)
    make_file(str(path))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"there", 0o640)


def test_a_file_is_made_where_only_root_may_call_mknod(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mknod", refuse)
    for content in (b"", b"there"):
        make_file(str(path))
        assert path.read_bytes() == content
        path.write_bytes(b"there")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_cannot_be_made_is_a_fault_with_a_remedy(path: Path, key: str) -> None:
    with closing(open_sql(f"sqlite:///{path.parent}/absent/a.db", create_all=True)) as backend:
        with pytest.raises(StoreUnavailable, match="look at the folder and its permissions"):
            backend.sessions.load(key)
        with pytest.raises(StoreUnavailable, match="look at the folder and its permissions"):
            migrate_schema(f"sqlite:///{path.parent}/absent/a.db", timeout=1.0)


# -- the journal -----------------------------------------------------------------------------------


@pytest.fixture
def application_database(path: Path) -> Path:
    """A database that an application keeps its own data in, with SQLite's default journal."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    return path


def test_a_new_file_gets_a_write_ahead_log(path: Path, key: str) -> None:
    with closing(open_sql(f"sqlite:///{path}", create_all=True)) as backend:
        backend.sessions.create(key, b"x", later())
        assert path.with_name(path.name + "-wal").exists()
    assert journal_of(path) == "wal"
    migrated = path.with_name("migrated.db")
    migrate_schema(f"sqlite:///{migrated}")
    assert journal_of(migrated) == "wal"


def test_a_look_at_a_database_keeps_its_journal(application_database: Path) -> None:
    with (
        closing(open_sql(f"sqlite:///{application_database}")) as backend,
        pytest.raises(StoreUnavailable, match="migrate-schema"),
    ):
        backend.sessions.ping()
    assert journal_of(application_database) == "delete"


def test_a_start_keeps_the_journal_of_an_application_s_database(
    application_database: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{application_database}")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", SECRET)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("WSGI_SESSIONS_URL", raising=False)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        get_session(environ)["seen"] = True
        start_response("200 OK", [])
        return []

    assert Browser(from_env(app)).get("/").status == 200
    assert journal_of(application_database) == "delete"
    assert sorted(os.listdir(tmp_path)) == ["sessions.db", "state"]


@pytest.mark.parametrize("how", ["command", "first use"])
def test_sessions_share_an_application_s_database_with_its_journal(
    application_database: Path, how: str, key: str
) -> None:
    url = f"sqlite:///{application_database}"
    if how == "command":
        migrate_schema(url)
    with closing(open_sql(url, timeout=10.0, create_all=how == "first use")) as backend:
        backend.sessions.create(key, b"1", later())
        assert backend.sessions.save(key, b"2", later(), expected_version=1) == 2
    assert journal_of(application_database) == "delete"
