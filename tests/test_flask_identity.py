"""Flask, Flask-Login and Flask-WTF: what gives a session another id, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask_login
import pytest
from flask import Flask, session
from flask_clients import cookie_of, with_cookie
from flask_wtf.csrf import generate_csrf

from wsgi_sessions.contrib.flask import WSGISessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"


def load_user(name: str) -> Any:
    user = flask_login.UserMixin()
    user.id = name
    return user


@pytest.fixture
def site() -> Iterator[Callable[..., Flask]]:
    """Makes Flask applications with Flask-Login."""
    made: list[tuple[WSGISessions, Flask]] = []

    def make(**config: Any) -> Flask:
        app = Flask(__name__)
        app.config.update(
            SECRET_KEY=SECRET,
            WSGI_SESSIONS_URL="memory://",
            WSGI_SESSIONS_SWEEP_INTERVAL="off",
            **config,
        )
        made.append((WSGISessions(app), app))
        flask_login.LoginManager(app).user_loader(load_user)
        add_routes(app)
        return app

    yield make
    for sessions, app in made:
        sessions.close(app)


def add_routes(app: Flask) -> None:
    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask_login.login_user(load_user(name), fresh=False)
        return name

    @app.get("/confirm")
    def confirm() -> str:
        flask_login.confirm_login()
        return "confirmed"

    @app.get("/set/<key>/<value>")
    def set_(key: str, value: str) -> str:
        session[key] = value
        return value

    @app.get("/get/<key>")
    def get(key: str) -> str:
        return str(session.get(key))

    @app.get("/who")
    def who() -> Any:
        if not flask_login.login_fresh():
            return "nobody", 401
        return str(flask_login.current_user.id)


def test_a_stolen_cookie_does_not_become_fresh_when_the_user_confirms_the_login(
    site: Callable[..., Flask],
) -> None:
    app = site()
    client = app.test_client()
    client.get("/login/alice")
    stolen = cookie_of(client)
    client.get("/confirm")
    assert client.get("/who").text == "alice"
    assert cookie_of(client) != stolen
    assert with_cookie(app, stolen).get("/who").status_code == 401


def test_keys_that_hold_rights_are_named_beside_those_of_flask_login(
    site: Callable[..., Flask],
) -> None:
    app = site(WSGI_SESSIONS_PRIVILEGE_KEYS=["role"])
    client = app.test_client()
    client.get("/login/alice")
    for path in ("/set/role/admin", "/confirm"):
        stolen = cookie_of(client)
        client.get(path)
        assert cookie_of(client) != stolen, path
    stolen = cookie_of(client)
    client.get("/set/role/admin")
    assert cookie_of(client) == stolen


@pytest.mark.parametrize("key", ["user_id", "username", "uid", "user", "account_id"])
def test_a_common_name_for_the_user_gives_another_id_without_a_setting(
    site: Callable[..., Flask], key: str
) -> None:
    app = site()
    client = app.test_client()
    client.get("/set/cart/tea")
    planted = cookie_of(client)
    client.get(f"/set/{key}/alice")
    assert cookie_of(client) != planted
    assert with_cookie(app, planted).get(f"/get/{key}").text == "None"
    assert client.get("/get/cart").text == "tea"


def test_common_names_are_told_at_start_and_can_be_switched_off(
    site: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        site()
    assert "user_id, _user_id, username, uid, user, account_id" in caplog.text
    client = site(WSGI_SESSIONS_LOGIN_KEYS="off").test_client()
    client.get("/set/cart/tea")
    before = cookie_of(client)
    client.get("/set/username/alice")
    assert cookie_of(client) == before


def test_the_csrf_token_of_flask_wtf_is_another_one_after_a_login(
    site: Callable[..., Flask],
) -> None:
    app = site()
    app.get("/token")(generate_csrf)
    client = app.test_client()
    client.get("/token")
    planted = client.get("/get/csrf_token").text
    client.get("/login/alice")
    client.get("/token")
    assert client.get("/get/csrf_token").text not in (planted, "None")
