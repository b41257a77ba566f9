"""Version stamps as the environment sets them up, and on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from command_line import assert_refused, run
from databases import Database, sqlite
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from wsgi_client import Browser

from wsgi_sessions import (
    SYSTEM_SETTINGS,
    Config,
    ConfigurationError,
    SqlVersions,
    VersionTable,
    build,
    bump_version,
    create_version_table,
    get_session,
    open_backend,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.stack.build import Stack

PAGE = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}
SECRET = "s" * 40


def renew(session: Any, environ: Any) -> dict[str, Any]:
    """A refresh hook."""
    return {"name": "new"}


def exists(session: Any, environ: Any) -> bool:
    """A validate hook."""
    return bool(session.get("name") != "gone")


def app(environ: Any, start_response: Any) -> list[bytes]:
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session["name"] = environ["QUERY_STRING"]
        session.login("alice")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.get("name")).encode()]


def logged_in(stack: Stack, name: str = "old") -> Browser:
    browser = Browser(stack)
    browser.get("/login", method="POST", QUERY_STRING=name, **PAGE)
    return browser


def read(**variables: str) -> Config:
    environ = {"WSGI_SESSIONS_SWEEP_INTERVAL": "off", "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    return Config.from_environ({**environ, **variables})


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"file://{tmp_path}/sessions"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    found = sqlite(tmp_path)
    with closing(found.connect()) as connection:
        create_version_table(connection)
        connection.commit()
    return found


def test_by_default_there_are_no_stamps() -> None:
    with closing(build(app, read(WSGI_SESSIONS_URL="memory://"))) as stack:
        browser = logged_in(stack)
        versions = stack.manager.backend.versions
        assert versions is not None
        versions.bump("global")
        assert browser.get("/", **PAGE).body == b"old"


def test_hooks_that_the_environment_names(folder: str) -> None:
    config = read(
        WSGI_SESSIONS_URL=folder,
        WSGI_SESSIONS_VERSION_REFRESH=f"{__name__}:renew",
        WSGI_SESSIONS_VERSION_VALIDATE=f"{__name__}:exists",
        WSGI_SESSIONS_VERSION_MAX_AGE="0",
    )
    with closing(build(app, config)) as stack:
        browser = logged_in(stack)
        assert browser.get("/", **PAGE).body == b"old"
        assert (
            run("versions", "bump", WSGI_SESSIONS_URL=folder).stdout == "global is at version 1\n"
        )
        assert browser.get("/", **PAGE).body == b"new"
        assert logged_in(stack, "gone").get("/", **PAGE).body == b"new"


def test_hooks_that_are_given() -> None:
    config = read(WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_VERSION_MAX_AGE="0")
    given = build(
        app,
        config,
        version_refresh=renew,
        version_validate=exists,
        version_scopes=lambda session: [f"user:{session.principal}"],
        version_applies=lambda environ: environ["PATH_INFO"] == "/page",
    )
    with closing(given) as stack:
        browser = logged_in(stack)
        versions = stack.manager.backend.versions
        assert versions is not None
        versions.bump("global")
        assert browser.get("/page").body == b"old"
        versions.bump("user:alice")
        assert browser.get("/", **PAGE).body == b"old"
        assert browser.get("/page").body == b"new"


@pytest.mark.parametrize("how", ["url", "argument", "settings"])
def test_stamps_in_a_database_beside_sessions_in_files(
    folder: str, database: Database, how: str
) -> None:
    table = VersionTable()
    environ = {
        "WSGI_SESSIONS_URL": folder,
        "WSGI_SESSIONS_VERSION_REFRESH": f"{__name__}:renew",
        "WSGI_SESSIONS_VERSION_MAX_AGE": "0",
    }
    hooks: dict[str, Any] = {}
    if how == "argument":
        hooks["versions"] = SqlVersions(database.connect)
    else:
        environ["WSGI_SESSIONS_VERSION_URL"] = database.url
    if how == "settings":
        table = SYSTEM_SETTINGS
        environ["WSGI_SESSIONS_VERSION_TABLE"] = "system_settings"
        database.run(
            "CREATE TABLE system_settings (key TEXT UNIQUE, value TEXT, description TEXT,"
            " created_at TEXT, updated_at TEXT)"
        )
    with closing(build(app, read(**environ), **hooks)) as stack:
        browser = logged_in(stack)
        for outcome, expected in (("rollback", b"old"), ("commit", b"new")):
            with closing(database.connect()) as connection:
                bump_version(connection, table=table)
                getattr(connection, outcome)()
            assert browser.get("/", **PAGE).body == expected


def test_stamps_in_another_store_than_the_sessions(folder: str) -> None:
    require(available())
    with RedisServer() as server:
        environ = {
            "WSGI_SESSIONS_URL": folder,
            "WSGI_SESSIONS_VERSION_URL": server.url,
            "WSGI_SESSIONS_VERSION_SCOPES": "league:{name}",
            "WSGI_SESSIONS_VERSION_MAX_AGE": "0",
            "WSGI_SESSIONS_LOGIN_URL": "/login",
        }
        with closing(build(app, read(**environ))) as stack:
            browser = logged_in(stack)
            assert browser.get("/", **PAGE).body == b"old"
            assert run("versions", "bump", "league:other", **environ).exit_code == 0
            assert browser.get("/", **PAGE).body == b"old"
            assert run("versions", "bump", "league:old", **environ).exit_code == 0
            assert browser.get("/", **PAGE).header("Location") == "/login?next=/"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WSGI_SESSIONS_VERSION_SCOPES": "{a.b}"}, "version scope"),
        ({"WSGI_SESSIONS_VERSION_REFRESH": "nowhere:renew"}, "WSGI_SESSIONS_VERSION_REFRESH"),
        ({"WSGI_SESSIONS_VERSION_VALIDATE": f"{__name__}:PAGE"}, "WSGI_SESSIONS_VERSION_VALIDATE"),
        (
            {
                "WSGI_SESSIONS_VERSION_SCOPES": "global",
                "WSGI_SESSIONS_VERSION_URL": "nowhere://user:hidden-word@host/x",
            },
            "version stamps",
        ),
    ],
)
def test_impossible_settings_stop_the_start(variables: dict[str, str], words: str) -> None:
    config = read(WSGI_SESSIONS_URL="memory://", **variables)
    with pytest.raises(ConfigurationError) as caught:
        build(app, config)
    assert words in str(caught.value)
    assert "hidden-word" not in str(caught.value)


# -- the command line --------------------------------------------------------------------------


@pytest.fixture
def made_folder(folder: str) -> str:
    """A folder that an application has made: commands that look make none."""
    open_backend(folder).close()
    return folder


def test_bumping_and_looking(made_folder: str) -> None:
    folder = made_folder
    environ = {"WSGI_SESSIONS_URL": folder}
    assert run("versions", "show", **environ).stdout == "global  version 0\n"
    assert run("versions", "bump", "league:5", **environ).stdout == "league:5 is at version 1\n"
    assert run("versions", "bump", "league:5", **environ).stdout == "league:5 is at version 2\n"
    first, second = run("versions", "show", "global", "league:5", **environ).stdout.splitlines()
    assert first == "global    version 0"
    assert second.startswith("league:5  version 2  since 20")
    (found,) = json.loads(run("versions", "show", "league:5", "--json", **environ).stdout)
    assert (found["scope"], found["version"]) == ("league:5", 2)
    assert [bump["version"] for bump in found["history"]] == [2, 1]


@pytest.fixture
def watcher(made_folder: str) -> Iterator[Any]:
    command = [sys.executable, "-m", "wsgi_sessions", "versions", "watch", "a", "b"]
    with subprocess.Popen(
        command,
        env={"WSGI_SESSIONS_URL": made_folder, **_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.terminate()


def _path() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH", "PATH") if name in os.environ}


def test_watching(made_folder: str, watcher: Any) -> None:
    assert watcher.stdout.readline() == "a  version 0\n"
    assert watcher.stdout.readline() == "b  version 0\n"
    run("versions", "bump", "b", WSGI_SESSIONS_URL=made_folder)
    assert watcher.stdout.readline().startswith("b  version 1  since")
    wait_until(lambda: watcher.poll() is None, "it to go on")
    watcher.send_signal(signal.SIGINT)  # as Ctrl+C does
    assert watcher.wait(10) == 0
    lines = watcher.stderr.read().splitlines()
    assert lines == [f"store: {made_folder} (from WSGI_SESSIONS_URL)"]


def test_what_the_command_line_refuses(folder: str, tmp_path: Path) -> None:
    result = run(
        "versions", "bump", WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_SECRET_KEYS=SECRET
    )
    assert_refused(result, 2, "WSGI_SESSIONS_VERSION_URL")
    down = run("versions", "show", WSGI_SESSIONS_URL="redis://:hidden-word@127.0.0.1:1/0")
    assert_refused(down, 1)
    assert "hidden-word" not in down.stdout
    no_table = f"sqlite:///{tmp_path}/empty.db"
    environ = {"WSGI_SESSIONS_URL": folder, "WSGI_SESSIONS_VERSION_URL": no_table}
    assert_refused(run("versions", "bump", **environ), 1, "create_version_table")
