"""No setting is silently without effect, and what cannot start fails `check`."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from command_line import run
from flask import Flask, session
from redis import Redis

from wsgi_sessions import Config, from_env, open_backend
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.flask.config import config_of
from wsgi_sessions.contrib.flask.leftovers import leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
HOOKS = """
def refresh(session, environ): return None
def renew(session): return None
def may_access(principal, value, environ): return True
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/sessions"


# -- Flask-Session's -------------------------------------------------------------------------------


def test_flask_session_s_settings_are_named_with_what_replaces_them(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("shop")
    app.config.update(
        SECRET_KEY=SECRET,
        WSGI_SESSIONS_URL=url,
        SESSION_TYPE="redis",
        SESSION_REDIS=Redis.from_url("redis://:hunter2@cache:6380/3"),
        SESSION_USE_SIGNER=True,
        SESSION_COOKIE_NAME="shop",  # Flask's own
    )
    WSGISessions(app)
    app.test_client().get("/")
    said = [record.getMessage() for record in caplog.records]
    told = [text for text in said if "of Flask-Session has no effect" in text]
    names = ["SESSION_REDIS", "SESSION_TYPE", "SESSION_USE_SIGNER"]
    assert [text.split()[0] for text in told] == names
    assert "WSGI_SESSIONS_URL=redis://***@cache:6380/3" in told[0]
    assert "WSGI_SESSIONS_IMPORT_FROM=flask-session+redis://***@cache:6380/3" in told[0]
    assert "hunter2" not in caplog.text
    found = app.test_cli_runner().invoke(args=["sessions", "check", "--json"])
    texts = [f["text"] for f in json.loads(found.stdout)["findings"]]
    assert set(told) <= set(texts)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SESSION_FILE_DIR", "/srv/old", "flask-session+file:///srv/old"),
        ("SESSION_SQLALCHEMY_TABLE", "sessions", "migrate-schema"),
        ("SESSION_MONGODB_DB", "x", "not one of this package's"),
        ("SESSION_KEY_PREFIX", "s:", "WSGI_SESSIONS_KEY_PREFIX"),
        ("SESSION_ID_LENGTH", 32, "240 bits"),
    ],
)
def test_each_setting_has_its_replacement(name: str, value: object, words: str) -> None:
    first, _, last = leftovers({name: value}, {})
    assert first.startswith(f"{name} of Flask-Session has no effect")
    assert words in first
    assert "its users are logged out unless WSGI_SESSIONS_URL" in last


def test_flask_s_own_settings_are_none_of_them() -> None:
    assert leftovers({**Flask.default_config, "SESSION_TYPE": None}, {}) == []


def test_no_log_out_is_announced_where_the_environment_names_a_store(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"SECRET_KEY": SECRET, "SESSION_TYPE": "redis", "SESSION_PERMANENT": True}
    app_config = {**Flask.default_config, **settings}
    assert "its users are logged out" in config_of(app_config, {"HOME": "/h"}).remarks[-1]
    (told,) = config_of(app_config, {"WSGI_SESSIONS_URL": url}).remarks
    assert told.startswith("SESSION_TYPE of Flask-Session has no effect")


@pytest.mark.parametrize(("permanent", "is_told"), [(None, True), (True, False), (False, False)])
def test_sessions_that_end_with_the_browser_are_reported(permanent: object, is_told: bool) -> None:
    told = leftovers({"SESSION_TYPE": "redis", "SESSION_PERMANENT": permanent}, {})
    assert any("end with the browser" in text for text in told) == is_told


# -- the former cookie -----------------------------------------------------------------------------


def flask_site(**settings: object) -> Flask:
    app = Flask("shop")
    app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_NAME="sid", **settings)
    app.add_url_rule("/login", "login", lambda: session.update(user_id="7") or "in")
    app.add_url_rule("/", "index", lambda: str(session.get("user_id")))
    return app


def moved(url: str, former: FlaskClient, **settings: object) -> str:
    """Whom the site takes a browser for, once it has moved from Flask's own cookie."""
    app = flask_site(
        WSGI_SESSIONS_URL=url,
        WSGI_SESSIONS_IMPORT_FROM="flask-cookie://",
        WSGI_SESSIONS_IMPORT_UNTIL="2090-12-31",
        **settings,
    )
    WSGISessions(app)
    client = app.test_client()
    cookie = former.get_cookie("sid")
    assert cookie is not None
    client.set_cookie("sid", cookie.value)
    return client.get("/").text


def test_the_former_cookie_has_the_name_that_the_application_gives_it(url: str) -> None:
    former = flask_site().test_client()
    former.get("/login")
    assert moved(url, former) == "7"


def test_the_former_cookie_is_not_older_than_the_application_allows(
    url: str,
) -> None:
    former = flask_site(PERMANENT_SESSION_LIFETIME=1800).test_client()
    with time_machine.travel(datetime.now(timezone.utc) - timedelta(hours=1)):
        former.get("/login")
    assert former.get("/").text == "None", "Flask's own sessions"
    assert moved(url, former, PERMANENT_SESSION_LIFETIME=1800) == "None"
    assert moved(url, former, PERMANENT_SESSION_LIFETIME=timedelta(days=31)) == "7"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("flask-session+redis://h/0", "flask-session+redis://h/0?cookie=sid"),
        ("flask-session+redis://h/0?signer=on", "flask-session+redis://h/0?signer=on&cookie=sid"),
        ("flask-session+redis://h/0?cookie=old", "flask-session+redis://h/0?cookie=old"),
        ("flask-cookie://?cookie=old&max_age=1h", "flask-cookie://?cookie=old&max_age=1h"),
        ("flask-cookie://", "flask-cookie://?cookie=sid&max_age=2678400"),
        ("django+redis://h/0", "django+redis://h/0"),
    ],
)
def test_names_in_an_import_url_win(given: str, used: str) -> None:
    settings = {"WSGI_SESSIONS_IMPORT_FROM": given, "WSGI_SESSIONS_IMPORT_UNTIL": "2090-12-31"}
    app_config = {**Flask.default_config, "SECRET_KEY": SECRET, "SESSION_COOKIE_NAME": "sid"}
    assert config_of({**app_config, **settings}, {"HOME": "/h"}).imports.source == used


# -- twins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, []),
        ({"REDIS_URL": "redis://:hunter2@h/0"}, ["REDIS_URL (redis://***@h/0) is not used"]),
        ({"REDIS_URL": "redis://h/0", "USE_REDIS_SESSIONS": "off"}, []),
        ({"REDIS_URL": "redis://h/0", "USE_REDIS_SESSIONS": "on"}, []),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@h/d"},
            ["DATABASE_URL (postgresql://***@h/d) is used"],
        ),
        ({"DATABASE_URL": "postgresql://h/d", "USE_DATABASE_SESSIONS": "on"}, []),
        ({"DATABASE_URL": "postgresql://h/d", "USE_DATABASE_SESSIONS": "off"}, []),
        (
            {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h/0"},
            ["DATABASE_URL (postgresql://h/d) is used", "REDIS_URL (redis://h/0) is not used"],
        ),
        ({"DATABASE_URL": "x://h", "REDIS_URL": "y://h", "WSGI_SESSIONS_URL": "memory://"}, []),
    ],
)
def test_each_unused_twin_variable_is_remarked(environ: dict[str, str], told: list[str]) -> None:
    remarks = Config.from_environ({"HOME": "/h", **environ}).remarks
    assert len(remarks) == len(told)
    for remark, beginning in zip(remarks, told, strict=True):
        assert remark.startswith(beginning)
        assert "hunter2" not in remark


def test_each_twin_has_a_switch() -> None:
    twins = {"HOME": "/h", "REDIS_URL": "redis://h/0", "DATABASE_URL": "postgresql://h/d"}
    switches = {"USE_REDIS_SESSIONS": "on", "USE_DATABASE_SESSIONS": "on"}
    both = Config.from_environ({**twins, **switches})
    assert both.urls[:2] == ("redis://h/0", "postgresql://h/d")
    neither = Config.from_environ({**twins, **dict.fromkeys(switches, "off")})
    assert neither.urls == ("file:///h/.local/state/wsgi_sessions",)


def test_it_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://h/0")
    with caplog.at_level(logging.WARNING):
        from_env(lambda _environ, _start: []).close()
    assert caplog.text.count("REDIS_URL (redis://h/0) is not used for sessions") == 1


@pytest.mark.parametrize(
    "name", ["WSGI_SESSION_URL", "WSGISESSIONS_URL", "wsgi_sessions_url", "WSGI_SESSIONS_URI"]
)
def test_a_misspelt_name_is_noticed(name: str) -> None:
    (remark,) = Config.from_environ({"HOME": "/h", name: "redis://h/0"}).remarks
    assert remark == f"unknown setting {name} ignored: did you mean WSGI_SESSIONS_URL?"


def test_a_misspelt_name_in_app_config_is_noticed(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSION_URL=url)
    WSGISessions(app)
    app.test_client().get("/")
    assert "unknown setting WSGI_SESSION_URL ignored" in caplog.text


# -- check -----------------------------------------------------------------------------------------


def findings(url: str, **environ: str) -> list[tuple[str, str, str]]:
    given = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET, **environ}
    result = run("check", "--json", **given)
    found = [tuple(finding.values()) for finding in json.loads(result.stdout)["findings"]]
    assert result.exit_code == any(level == "fault" for level, *_ in found)
    return found


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hooks_of_check.py").write_text(HOOKS)
    (tmp_path / "broken_hooks_of_check.py").write_text("raise RuntimeError('broken here')")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"WSGI_SESSIONS_REFRESH": "nowhere.hooks:renew"}, "there is no module nowhere"),
        ({"WSGI_SESSIONS_REFRESH": "hooks_of_check:missing"}, "has no missing"),
        ({"WSGI_SESSIONS_REFRESH": "broken_hooks_of_check:x"}, "RuntimeError: broken here"),
        ({"WSGI_SESSIONS_VERSION_REFRESH": "hooks_of_check:missing"}, "has no missing"),
        ({"WSGI_SESSIONS_VERSION_VALIDATE": "nowhere:validate"}, "there is no module nowhere"),
        (
            {
                "WSGI_SESSIONS_CONTEXT_KEY": "deal",
                "WSGI_SESSIONS_CONTEXT_PERMISSION": "hooks_of_check:missing",
            },
            "has no missing",
        ),
        ({"WSGI_SESSIONS_CONTEXT_KEY": "deal"}, "name a function for each key"),
    ],
)
def test_a_hook_that_cannot_be_loaded_is_a_fault(
    url: str, environ: dict[str, str], words: str
) -> None:
    ((level, topic, text),) = findings(url, **environ)
    assert (level, topic) == ("fault", "start")
    assert words in text


@pytest.mark.parametrize(
    ("environ", "topic"),
    [
        (
            {
                "WSGI_SESSIONS_VERSION_SCOPES": "a",
                "WSGI_SESSIONS_VERSION_URL": "redis://127.0.0.1:1/0",
            },
            "versions",
        ),
        (
            {
                "WSGI_SESSIONS_IMPORT_FROM": "flask-session+redis://127.0.0.1:1/0",
                "WSGI_SESSIONS_IMPORT_UNTIL": "2999-12-31",
            },
            "import",
        ),
        ({"WSGI_SESSIONS_MIGRATE_FROM": "redis://127.0.0.1:1/0"}, "store"),
    ],
)
def test_every_other_configured_part_is_checked(
    url: str, environ: dict[str, str], topic: str
) -> None:
    found = findings(url, **environ)
    assert any(level == "fault" and name.endswith(topic) for level, name, _ in found)


@pytest.mark.usefixtures("hooks")
def test_nothing_is_found_where_all_can_be_loaded(url: str, tmp_path: Path) -> None:
    environ: dict[str, Any] = {
        "WSGI_SESSIONS_REFRESH": "hooks_of_check:renew",
        "WSGI_SESSIONS_VERSION_REFRESH": "hooks_of_check:refresh",
        "WSGI_SESSIONS_CONTEXT_KEY": "deal",
        "WSGI_SESSIONS_CONTEXT_PERMISSION": "hooks_of_check:may_access",
    }
    assert findings(url, **environ) == []
    assert not (tmp_path / "sessions" / "secret").exists()


def test_several_stores_without_a_secret_cannot_start(url: str, tmp_path: Path) -> None:
    both = {"WSGI_SESSIONS_URL": f"{url} file://{tmp_path}/more"}
    for each in both["WSGI_SESSIONS_URL"].split():
        open_backend(each).close()
    result = run("check", "--json", WSGI_SESSIONS_CHOICE_FOLDER=f"{tmp_path}/choices", **both)
    ((level, topic),) = [(f["level"], f["topic"]) for f in json.loads(result.stdout)["findings"]]
    assert (result.exit_code, level, topic) == (1, "fault", "keys")
