"""The command that tells who a log is about."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from wsgi_client import Browser

from wsgi_sessions import from_env, get_session
from wsgi_sessions.cli import main
from wsgi_sessions.contract import Context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "s" * 32


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["pseudonym", *arguments])


@pytest.fixture(params=["configured", "kept"])
def logged(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> dict[str, str]:
    """What a server's log calls some users, each with a session; and one with a context alone."""
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    if request.param == "configured":
        monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", f"{'o' * 32} {SECRET}")
    users: Iterator[str | int] = iter(["alice", "b\x1b[31mob", 7])

    def app(environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ).login(next(users))
        start_response("200 OK", [])
        return [b""]

    application = from_env(app)
    for _ in range(3):
        assert Browser(application).get("/").status == 200
    manager = application.manager
    assert manager.backend.contexts is not None
    manager.backend.contexts.set("carol", "deal", Context(b"\x01", 1.0))
    names: Any = ["alice", "b\x1b[31mob", 7, "carol"]
    return {str(name): str(manager.events.pseudonyms.of(name)) for name in names}


def test_what_the_log_calls_a_user(logged: dict[str, str]) -> None:
    assert run("alice").stdout == logged["alice"] + "\n"
    assert run("7").stdout == logged["7"] + "\n"


@pytest.mark.parametrize(
    ("user", "shown"),
    [("alice", "alice"), ("b\x1b[31mob", "b\\x1b[31mob"), ("7", "7"), ("carol", "carol")],
)
def test_the_user_of_a_log_line(logged: dict[str, str], user: str, shown: str) -> None:
    assert run("--find", logged[user]).stdout == shown + "\n"
    found = json.loads(run("--find", logged[user], "--json").stdout)
    assert found == [{"user": user, "pseudonym": logged[user]}]


def test_nobody_has_it(logged: dict[str, str]) -> None:
    other = "0" * 10
    assert other not in logged.values()
    result = run("--find", other)
    assert result.exit_code == 1
    assert "no user" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("alice", "--find", "0" * 10), ("--find", "alice")])
def test_wrong_usage(logged: dict[str, str], arguments: tuple[str, ...]) -> None:
    assert logged
    assert run(*arguments).exit_code == 2


def test_to_ask_makes_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sessions"
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{folder}")
    result = run("alice")
    assert result.exit_code == 2
    assert "no server has made a secret" in result.stderr
    assert not os.path.exists(folder / "secret")
