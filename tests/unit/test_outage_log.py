"""An outage costs one line of the log for each failed request, whatever the application is."""

from __future__ import annotations

import errno
import logging
import traceback
from typing import TYPE_CHECKING, Any

import flask
import flask_login
import pytest
from flask import Flask, session
from flask_clients import of_nobody
from redis_servers import free_port

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "s" * 40
KEY = "a" * 64


@pytest.fixture(
    params=["redis", "redis+sentinel", "redis+cluster", "postgresql", "mysql+pymysql", "file"]
)
def dead_store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[], object]]:
    """The URL of a store, and what makes an end of it once it has been opened."""
    if request.param == "file":
        folder = tmp_path / "sessions"
        return f"file://{folder}", lambda: folder.rename(tmp_path / "unmounted")
    port = free_port()
    path = {"redis+sentinel": "/primary/0", "redis+cluster": ""}.get(request.param, "/0")
    return f"{request.param}://127.0.0.1:{port}{path}", lambda: None


class LoggedUser(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login is untyped
    def __init__(self, name: str) -> None:
        self.id = name


def site(url: str, *, refresh_remember: bool) -> Flask:
    """As Flask-Login's documentation makes one; its `after_request` reads the session each time."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=SECRET,
        WSGI_SESSIONS_URL=url,
        WSGI_SESSIONS_SWEEP_INTERVAL="off",
        REMEMBER_COOKIE_REFRESH_EACH_REQUEST=refresh_remember,
    )
    WSGISessions(app)
    users = flask_login.LoginManager(app)
    users.user_loader(LoggedUser)
    users.login_view = "login"

    @app.route("/login")
    def login() -> str:
        flask_login.login_user(LoggedUser("alice"), remember=True)
        return "in"

    @app.route("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return "out"

    @app.route("/me")
    def me() -> str:
        return str(flask_login.current_user.is_authenticated)

    @app.route("/private")
    @flask_login.login_required  # type: ignore[untyped-decorator]
    def private() -> str:
        return "private"

    @app.route("/page")
    def page() -> str:
        return flask.render_template_string("{{ current_user.is_authenticated }}")

    @app.route("/write")
    def write() -> str:
        session["n"] = 1
        return "ok"

    @app.route("/nothing")
    def nothing() -> str:
        return "nothing"

    return app


PATHS = ["/login", "/logout", "/me", "/private", "/page", "/write", "/nothing"]


@pytest.mark.parametrize("refresh_remember", [False, True])
def test_one_line_for_each_failed_request_under_flask_login(
    dead_store: tuple[str, Callable[[], object]],
    refresh_remember: bool,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url, end = dead_store
    app = site(url, refresh_remember=refresh_remember)
    interface: Any = app.session_interface
    assert interface.manager(app)
    end()
    client = app.test_client(use_cookies=False)
    cookie = f"session={of_nobody(app)}"
    for _ in range(4):  # what is said once is said by now
        client.get("/me", headers={"Cookie": cookie})
    for path in PATHS:
        caplog.clear()
        response = client.get(path, headers={"Cookie": cookie})
        assert response.status_code == 503, path
        shown = [record for record in caplog.records if record.levelno >= logging.WARNING]
        lines = [line for record in shown for line in formatted(record).splitlines()]
        assert len(lines) == 1, (path, lines)
        assert "session unavailable" in lines[0]
        assert f"GET {path}" in lines[0]
    assert "Traceback" not in capfd.readouterr().err


def formatted(record: logging.LogRecord) -> str:
    """As an operator's log has it."""
    return logging.Formatter("%(levelname)s %(name)s %(message)s").format(record)


def test_a_traceback_holds_one_line_of_what_the_driver_raised(
    dead_store: tuple[str, Callable[[], object]],
) -> None:
    """Where an application logs it after all."""
    url, end = dead_store
    backend = open_backend(url, timeout=0.5)
    end()
    for _ in range(5):  # until it is known that the server is down
        with pytest.raises(StoreUnavailable) as caught:
            backend.sessions.load(KEY)
        text = "".join(traceback.format_exception(caught.value))
        assert "site-packages" not in text
        assert text.count("Traceback (most recent call last)") <= 1 + url.startswith("file")
    backend.close()


@pytest.mark.parametrize("faults", [1, 3, 4])
def test_attempts_of_the_file_store_log_no_lines_of_their_own(
    faults: int, caplog: pytest.LogCaptureFixture
) -> None:
    left = [faults]

    def action(key: str) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "Input/output error")
        return "done"

    if faults == 4:
        with pytest.raises(StoreUnavailable, match="4 times, last with Input/output error"):
            retrying("load", KEY, action)
        assert caplog.records == [], "the exception says it"
    else:
        assert retrying("load", KEY, action) == "done"
        (record,) = caplog.records
        assert f"attempt {faults}" in record.getMessage()
