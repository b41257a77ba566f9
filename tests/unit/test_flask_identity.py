"""Flask, Flask-Login and Flask-WTF: what gives a session another id, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask_login
import pytest
from cookie_jar import Jar
from flask import Flask, request, session
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
        fresh = "stale" not in request.args
        flask_login.login_user(load_user(name), fresh=fresh)
        return name

    @app.before_request
    def overlap() -> None:
        """Look who is there, as most applications do, before another request happens."""
        _ = flask_login.current_user.is_authenticated
        request.environ.get("meanwhile", lambda: None)()

    @app.get("/remember/<name>")
    def remember(name: str) -> str:
        flask_login.login_user(load_user(name), remember=True)
        return name

    @app.get("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return "out"

    @app.get("/name")
    def name() -> str:
        return str(getattr(flask_login.current_user, "id", None))

    add_looks(app)


def add_looks(app: Flask) -> None:
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
    client.get("/login/alice?stale")
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


def test_familiar_names_are_logged_at_start_and_can_be_switched_off(
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


class FlaskBrowser:
    """One that has visited anonymously, was remembered as alice, and logs in as bob in a tab."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self.client.get("/remember/alice")
        remembered = self.client.get_cookie("remember_token")
        assert remembered is not None
        self.client.delete_cookie("session")
        self.client.delete_cookie("remember_token")
        self.client.get("/set/cart/tea")
        self.old = f"session={cookie_of(self.client)}; remember_token={remembered.value}"
        self._stale = app.test_client(use_cookies=False)

    def login(self) -> None:
        self.client.get("/login/bob")

    def stale(self, path: str, **environ: Any) -> Any:
        """The response to a request that still has the cookies of before."""
        return self._stale.get(path, headers={"Cookie": self.old}, environ_base=environ)


@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("/logout", "before the log-in"),
        ("/logout", "after it"),
        ("/get/_user_id", "before the log-in"),
        ("/get/_user_id", "after it"),
        ("/set/theme/dark", "before the log-in"),
        ("/set/theme/dark", "after it"),
    ],
)
def test_a_remembered_user_or_a_log_out_in_a_superseded_request_undoes_no_login(
    site: Callable[..., Flask], path: str, begins: str
) -> None:
    app = site()
    browser = FlaskBrowser(app)
    if begins == "after it":
        browser.login()
        response = browser.stale(path)
    else:
        response = browser.stale(path, meanwhile=browser.login)
    assert response.status_code == 200
    assert response.headers.getlist("Set-Cookie") == []
    assert browser.client.get("/get/_user_id").text == "bob"


@pytest.mark.parametrize("ended", ["by nobody", "by an operator"])
def test_a_log_out_that_stores_nothing_deletes_the_cookie_that_remembers(
    site: Callable[..., Flask], ended: str
) -> None:
    """No log-in has replaced the session: the browser shall not be remembered any more."""
    app = site()
    browser = FlaskBrowser(app)

    def end() -> None:
        manager = app.extensions["wsgi_sessions"].interface.manager(app)
        for key in [*manager.backend.iteration.keys()]:
            manager.destroy(key)

    meanwhile = end if ended == "by an operator" else lambda: None
    response = browser.stale("/logout", meanwhile=meanwhile)
    (cookie,) = response.headers.getlist("Set-Cookie")
    assert cookie.startswith("remember_token=;")


def test_a_remembered_user_without_a_session_gets_one(site: Callable[..., Flask]) -> None:
    client = site().test_client()
    client.get("/remember/alice")
    client.delete_cookie("session")
    client.get("/name")
    assert client.get("/get/_user_id").text == "alice"
    assert client.get("/get/_fresh").text == "False"


def test_a_log_out_deletes_the_cookie_that_remembers(site: Callable[..., Flask]) -> None:
    client = site().test_client()
    client.get("/remember/alice")
    client.get("/logout")
    assert client.get_cookie("remember_token") is None
    assert client.get("/get/_user_id").text == "None"


def test_a_remembered_user_with_two_cookies_gets_one_session_and_not_one_per_request(
    site: Callable[..., Flask],
) -> None:
    app, jar = site(), Jar()
    jar.get(app, "/remember/alice")
    app.config["SESSION_COOKIE_DOMAIN"] = "example.test"
    jar.get(app, "/remember/alice")
    assert jar.header("/").count("session=") == 2
    manager = app.extensions["wsgi_sessions"].interface.manager(app)
    for key in [*manager.backend.iteration.keys()]:
        manager.destroy(key)
    for _ in range(3):
        assert jar.get(app, "/name").body == b"alice"
    assert manager.backend.iteration.count() == 1
