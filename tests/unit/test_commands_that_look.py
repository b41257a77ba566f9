"""Commands that look make and change nothing, on any store, and work as the folder's owner."""

from __future__ import annotations

import gc
import os
import pwd
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from overlapping import Sessions
from redis_servers import RedisServer, available
from requirements_of_tests import require
from sqlalchemy import create_engine, inspect, make_url
from store_urls import mariadb_url, postgresql_url, sqlite_url

import wsgi_sessions
from wsgi_sessions.cli import main
from wsgi_sessions.cli.owner import take_on_owner
from wsgi_sessions.contract import Context
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.schema import metadata
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s" * 40
NOBODY = pwd.getpwnam("nobody").pw_uid
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
LOOKS = [
    ["count"],
    ["list"],
    ["list", "--principal", "alice"],
    ["show", "KEY"],
    ["leases"],
    ["check"],
    ["purge", "--dry-run", "--older-than", "7d"],
    ["versions", "show"],
    ["contexts", "show", "alice"],
    ["contexts", "prune", "--older-than", "7d", "--dry-run"],
    ["copy", "--dry-run", "URL", "OTHER"],
]


def run(arguments: list[str], **variables: str) -> Result:
    given = {"WSGI_SESSIONS_SECRET_KEYS": SECRET, **variables}
    return CliRunner().invoke(main, arguments, env=given, catch_exceptions=False)


def filled(url: str) -> str:
    """A store with something of all that commands look at; the key of a session."""
    with closing(open_backend(url, timeout=5)) as opened:
        backend: Any = opened
        sessions = Sessions(backend)
        session_id = sessions.login(sessions.new(n=1), "alice")
        backend.index.add("alice", store_key(new_id()), 4e9)  # of a session that is gone
        backend.contexts.set("alice", "team", Context(b"x", 1.0))
        backend.versions.bump("global")
        backend.leases.acquire(store_key(session_id), "holder", 1000)
    del opened, backend, sessions
    gc.collect()  # with the last reference goes this process's mark, which no command must remove
    return store_key(session_id)


def state_of_files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    paths = [folder, *sorted(folder.rglob("*"))]
    return {
        str(path): (
            path.stat().st_mode,
            path.stat().st_mtime_ns if path.is_file() else 0,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in paths
    }


def look(url: str, key: str, folder: Path, **variables: str) -> None:
    for arguments in LOOKS:
        names = {"KEY": key, "URL": url, "OTHER": f"file://{folder}/other"}
        given = [names.get(argument, argument) for argument in arguments]
        result = run(given, WSGI_SESSIONS_URL=url, **variables)
        assert result.exit_code == 0, (given, result.output)


# -- files -----------------------------------------------------------------------------------------


def test_a_look_changes_nothing_in_a_session_folder(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    key = filled(url)
    damaged = tmp_path / "sessions" / "sessions" / "aa" / ("aa" * 32)
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"rubbish" * 1000)
    before = state_of_files(tmp_path)
    look(url, key, tmp_path)
    assert state_of_files(tmp_path) == before


@pytest.mark.parametrize("arguments", LOOKS[:-1], ids=" ".join)
@pytest.mark.parametrize("place", ["sessions", "a/b/sessions"])
def test_a_look_makes_no_folder(tmp_path: Path, arguments: list[str], place: str) -> None:
    url = f"file://{tmp_path}/{place}"
    given = ["a" * 64 if argument == "KEY" else argument for argument in arguments]
    result = run(given, WSGI_SESSIONS_URL=url)
    if arguments == ["check"]:
        assert (result.exit_code, "does not exist yet" in result.output) == (0, True)
    else:
        assert (result.exit_code, "this command does not" in result.output) == (2, True), (
            result.output
        )
    assert list(tmp_path.iterdir()) == []


def test_a_look_does_not_bring_format_back(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    filled(url)
    (tmp_path / "sessions" / "FORMAT").unlink()
    for arguments in (["count"], ["list"], ["check"]):
        assert run(arguments, WSGI_SESSIONS_URL=url).exit_code == 2
    assert not (tmp_path / "sessions" / "FORMAT").exists()


def test_a_look_moves_no_session_from_the_store_before(tmp_path: Path) -> None:
    old, new = f"file://{tmp_path}/old", f"file://{tmp_path}/new"
    key = filled(old)
    filled(new)
    before = state_of_files(tmp_path)
    settings = {"WSGI_SESSIONS_URL": new, "WSGI_SESSIONS_MIGRATE_FROM": old}
    for arguments in (["list"], ["show", key], ["list", "--principal", "alice"], ["check"]):
        result = run(arguments, **settings)
        assert result.exit_code == 0, result.output
    assert "2 sessions" in run(["list"], **settings).output
    assert state_of_files(tmp_path) == before


def test_a_look_chooses_no_store_for_others(tmp_path: Path) -> None:
    urls = f"file://{tmp_path}/absent file://{tmp_path}/sessions"
    filled(f"file://{tmp_path}/sessions")
    before = state_of_files(tmp_path)
    result = run(["list"], WSGI_SESSIONS_URL=urls, WSGI_SESSIONS_CHOICE_FOLDER=f"{tmp_path}/choice")
    assert (result.exit_code, "1 session" in result.output) == (0, True), result.output
    assert state_of_files(tmp_path) == before


# -- servers ---------------------------------------------------------------------------------------


def test_a_look_changes_nothing_in_redis(tmp_path: Path) -> None:
    require(available())
    with RedisServer() as server:
        key = filled(server.url)

        def state() -> dict[bytes, Any]:
            names = server.command("KEYS", "*")
            return {name: server.command("DUMP", name) for name in names}

        before = state()
        look(server.url, key, tmp_path)
        assert state() == before


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb"])
def test_a_look_changes_no_row(tmp_path: Path, database: str) -> None:
    url = {
        "sqlite": lambda: sqlite_url(tmp_path),
        "postgresql": postgresql_url,
        "mariadb": mariadb_url,
    }[database]()
    key = filled(url)
    drivers = {"postgresql:": "postgresql+psycopg:", "mariadb:": "mariadb+pymysql:"}
    address = url
    for plain, driver in drivers.items():
        address = address.replace(plain, driver) if address.startswith(plain) else address
    engine = create_engine(address)

    def state() -> dict[str, list[Any]]:
        with engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(table.select())))
                for table in metadata.sorted_tables
            }

    before = state()
    look(url, key, tmp_path)
    assert state() == before
    engine.dispose()


@pytest.mark.parametrize("schema", ["require", "create"])
def test_a_look_makes_no_tables_and_no_database(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "app.db"
    settings = {"WSGI_SESSIONS_URL": f"sqlite:///{path}", "WSGI_SESSIONS_SQL_SCHEMA": schema}
    for arguments in (*LOOKS[:-1],):
        given = ["a" * 64 if argument == "KEY" else argument for argument in arguments]
        assert run(given, **settings).exit_code != 0
        assert list(tmp_path.iterdir()) == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    content = path.read_bytes()
    for arguments in (["count"], ["list"], ["check"], ["versions", "show"]):
        run(arguments, **settings)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (content, ["app.db"])
    assert inspect(create_engine(make_url(f"sqlite:///{path}"))).get_table_names() == ["orders"]


# -- whose folder it is ----------------------------------------------------------------------------


@pytest.fixture
def owned() -> Iterator[Path]:
    """A session folder of another user, whose place that user can see."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        folder = Path(place) / "sessions"
        filled(f"file://{folder}")
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield folder


def strangers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.stat().st_uid != NOBODY]


@needs_root
@pytest.mark.parametrize(
    "arguments",
    [
        ["count"],
        pytest.param(["list"], marks=pytest.mark.soak),
        ["check"],
        ["sweep"],
        pytest.param(["reindex"], marks=pytest.mark.soak),
        ["versions", "bump"],
        pytest.param(["purge", "--older-than", "1d"], marks=pytest.mark.soak),
        ["revoke", "--principal", "alice", "--yes"],
    ],
    ids=" ".join,
)
def test_root_works_as_the_folder_s_owner(owned: Path, arguments: list[str]) -> None:
    result = run(arguments, WSGI_SESSIONS_URL=f"file://{owned}")
    assert result.exit_code == 0, result.output
    assert strangers(owned) == []
    assert (os.geteuid(), os.getegid()) == (0, 0)


@needs_root
def test_a_process_that_cannot_change_its_user_prints_the_line_to_run(
    owned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise PermissionError

    before = (os.getegid(), os.getgroups())
    monkeypatch.setattr(os, "seteuid", refuse)
    monkeypatch.setattr(sys, "argv", ["wsgi-sessions", "count", "--url", "redis://:secret@host/0"])
    with pytest.raises(ConfigurationError, match="sudo -E -u nobody wsgi-sessions count") as caught:
        take_on_owner([f"file://{owned}"])
    assert (os.getegid(), os.getgroups()) == before, "nothing is given up by halves"
    assert f"{owned} belongs to user nobody" in str(caught.value)
    assert "secret" not in str(caught.value)


@needs_root
def test_a_user_other_than_the_owner_gets_the_line_to_run(owned: Path) -> None:
    code = (
        "import os, pwd; from wsgi_sessions.cli.owner import take_on_owner\n"
        "import wsgi_sessions.stores.file.disk.owners\n"
        "from wsgi_sessions.errors import ConfigurationError\n"
        f"os.setuid({NOBODY - 1})\n"
        "try:\n"
        f"    take_on_owner(['file://{owned}'])\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    root = str(Path(wsgi_sessions.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert "Run it as its owner: sudo -E -u nobody wsgi-sessions" in done.stdout, done.stderr


@needs_root
def test_folders_of_several_users_are_refused(owned: Path, tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(ConfigurationError, match="Run it as its owner"):
        take_on_owner([f"file://{owned}", f"file://{tmp_path}"])
    assert os.geteuid() == 0


@needs_root
@pytest.mark.parametrize(
    "store", ["file://{}/sessions", "file://{}/new/sessions", "sqlite:///{}/app.db"]
)
@pytest.mark.parametrize(
    "arguments", [["sweep"], ["versions", "bump"], ["migrate-schema"], ["copy", "FROM", "URL"]]
)
def test_files_made_by_root_belong_to_the_owner_of_the_surrounding_folder(
    owned: Path, store: str, arguments: list[str]
) -> None:
    folder = owned.parent / "state"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    url = store.format(folder)
    if arguments == ["migrate-schema"] and url.startswith("file"):
        return
    names = {"FROM": f"file://{owned}", "URL": url}
    given = [names.get(argument, argument) for argument in arguments]
    settings = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SQL_SCHEMA": "create"}
    result = run(given, **settings)
    assert result.exit_code == 0, result.output
    assert list(folder.rglob("*")) != []
    assert strangers(folder) == []
    assert (os.geteuid(), os.getegid()) == (0, 0)


LEAVES_A_TRACE = """
import sys
import pathlib
from flask import Flask
from wsgi_sessions import from_env
from wsgi_sessions.contrib.flask import WSGISessions
(pathlib.Path(__file__).parent / "trace").write_text("imported")
SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"

def flask(url=None):
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL=url)
    WSGISessions(app)
    return app

def stack():
    return from_env(lambda environ, start_response: [])
"""


@pytest.fixture
def site(owned: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an application that writes when it is imported; its user may write there."""
    folder = owned.parent / "site"
    folder.mkdir()
    program = LEAVES_A_TRACE + f"\nown = flask('file://{owned}')\n"
    (folder / "tracing_site.py").write_text(program)
    os.chown(folder, NOBODY, NOBODY)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    sys.modules.pop("tracing_site", None)


@needs_root
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["count"], marks=pytest.mark.soak),
        ["check"],
        pytest.param(["config"], marks=pytest.mark.soak),
        ["sweep"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("app", ["flask()", "stack()"])
def test_root_imports_the_application_as_the_folder_s_owner(
    owned: Path, site: Path, words: list[str], app: str
) -> None:
    settings = {"WSGI_SESSIONS_URL": f"file://{owned}", "WSGI_SESSIONS_APPLICATION": "site"}
    result = run([*words, "--app", f"tracing_site:{app}"], **settings)
    assert result.exit_code == 0, result.output
    assert (site / "trace").stat().st_uid == NOBODY
    assert strangers(owned) == []
    assert os.geteuid() == 0


@needs_root
def test_an_import_of_the_application_by_root_is_reported(owned: Path, site: Path) -> None:
    """Where nothing but the application knows its folder."""
    result = run(["count", "--app", "tracing_site:own"])
    assert result.exit_code == 0, result.output
    assert (site / "trace").stat().st_uid == 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert "was imported as root" in line
    assert "sudo -E -u nobody wsgi-sessions" in line
    assert strangers(owned) == []
