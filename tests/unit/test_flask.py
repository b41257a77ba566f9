"""Flask on this package: its own features, its extensions, its configuration, and its failures."""

from __future__ import annotations

import re
import threading
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from enum import Enum, IntEnum
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import flask
import flask_app
import pytest
from documents import PAGES, blocks
from flask import Blueprint, Flask, Response, session, stream_with_context
from flask_clients import all_closed, cookie_of, of_nobody, with_cookie
from flask_wtf import CSRFProtect
from flask_wtf.csrf import generate_csrf
from gunicorn_server import GunicornServer, at_once
from markupsafe import Markup
from redis_servers import RedisServer, available
from requirements_of_tests import require
from werkzeug.middleware.proxy_fix import ProxyFix

from wsgi_sessions import ConfigurationError, Event, StoreUnavailable, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.flask.config import config_of, secrets_of
from wsgi_sessions.contrib.flask.mapping import FlaskSession
from wsgi_sessions.contrib.flask.naming import application_of
from wsgi_sessions.identity import IdSigner, store_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.testing import FlaskClient
    from flask.typing import ResponseReturnValue

    from wsgi_sessions.testing.clock import MovedClock

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
OTHER = "another-secret-of-the-tests-with-32-bytes"
SHORT = "dev"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Files, where nothing else is said; and all that was opened is closed."""
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    monkeypatch.setenv("WSGI_SESSIONS_SWEEP_INTERVAL", "off")
    with all_closed(monkeypatch):
        yield


def make(**config: Any) -> Flask:
    """An application that keeps, gives and takes any value."""
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": SECRET, **config})
    WSGISessions(app)
    add_routes(app)
    return app


def add_routes(app: Flask) -> None:
    @app.get("/set/<key>/<value>")
    def set_(key: str, value: str) -> str:
        session[key] = value
        return "set"

    @app.get("/get")
    def get() -> dict[str, Any]:
        return dict(session)

    @app.get("/pop/<key>")
    def pop(key: str) -> str:
        session.pop(key, None)
        return "popped"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/permanent/<answer>")
    def permanent(answer: str) -> str:
        session.permanent = answer == "yes"
        return "told"

    @app.get("/nothing")
    def nothing() -> str:
        return "nothing"


def attributes(response: Any) -> dict[str, str]:
    (line,) = response.headers.getlist("Set-Cookie")
    pairs = (part.strip().partition("=") for part in line.split(";")[1:])
    return {name: value for name, _, value in pairs}


# -- configuration ---------------------------------------------------------------------------------


def test_flask_s_own_names_are_honoured() -> None:
    app = make(
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_DOMAIN="example.org",
        SESSION_COOKIE_PATH="/shop",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="None",
        SESSION_COOKIE_PARTITIONED=True,
    )
    response = app.test_client().get("/set/a/1", base_url="https://example.org/shop")
    assert response.headers["Set-Cookie"].startswith("sid=")
    assert attributes(response) == {
        "Domain": "example.org",
        "Path": "/shop",
        "Secure": "",
        "SameSite": "None",
        "Partitioned": "",
    }


def test_the_defaults_are_safe() -> None:
    response = make().test_client().get("/set/a/1")
    assert attributes(response) == {"HttpOnly": "", "Path": "/", "SameSite": "Lax"}
    response = make().test_client().get("/set/a/1", base_url="https://localhost")
    assert "Secure" in attributes(response)


def test_what_counts_first() -> None:
    """Our own name in app.config, the same in the environment, Flask's name."""

    def name(app_config: dict[str, Any], environ: dict[str, str]) -> str:
        return config_of({**Flask.default_config, **app_config}, environ).cookie.name

    environ = {"WSGI_SESSIONS_URL": "memory://"}
    assert name({}, environ) == "session"
    given = {"SESSION_COOKIE_NAME": "flask"}
    assert name(given, environ) == "flask"
    environ["WSGI_SESSIONS_COOKIE_NAME"] = "environment"
    assert name(given, environ) == "environment"
    given["WSGI_SESSIONS_COOKIE_NAME"] = "config"
    assert name(given, environ) == "config"


def test_secrets_of_our_own_go_before_the_application_s(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(OTHER)
    base = {**Flask.default_config, "SECRET_KEY": SHORT}
    environ = {"WSGI_SESSIONS_URL": "memory://"}
    own = {**environ, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    assert config_of(base, own).secret_keys == (SECRET,)
    in_config = {**base, "WSGI_SESSIONS_SECRET_KEYS_FILE": str(file)}
    assert config_of(in_config, own).secret_keys == (OTHER,)
    assert config_of({**base, "WSGI_SESSIONS_SECRET_KEYS": [OTHER, SECRET]}, own).secret_keys == (
        OTHER,
        SECRET,
    )
    assert config_of(Flask.default_config, {**environ, "SECRET_KEY": SECRET}).secret_keys == ()


def test_values_may_be_of_python_s_types() -> None:
    given = {
        "WSGI_SESSIONS_IDLE_LIFETIME": timedelta(minutes=5),
        "WSGI_SESSIONS_TIMEOUT": 2,
        "WSGI_SESSIONS_COOKIE_PARTITIONED": True,
        "WSGI_SESSIONS_COOKIE_SECURE": "always",
        "WSGI_SESSIONS_EXCLUSIVE_PATHS": ["/a", "/b"],
        "WSGI_SESSIONS_LOGIN_URL": None,
        "WSGI_SESSIONS_IMPORT_UNTIL": date(2030, 12, 31),
    }
    config = config_of({**Flask.default_config, **given}, {"WSGI_SESSIONS_URL": "memory://"})
    assert (config.idle_lifetime, config.timeout, config.cookie.partitioned) == (300.0, 2.0, True)
    assert config.exclusive_paths == ("/a", "/b")
    assert config.imports.until == date(2030, 12, 31)


def test_the_lifetime_is_flask_s() -> None:
    environ = {"WSGI_SESSIONS_URL": "memory://"}
    config = config_of(Flask.default_config, environ)
    assert config.idle_lifetime == config.absolute_lifetime == timedelta(days=31).total_seconds()
    config = config_of({**Flask.default_config, "PERMANENT_SESSION_LIFETIME": 90}, environ)
    assert (config.idle_lifetime, config.absolute_lifetime) == (90.0, 30 * 86400.0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"SECRET_KEY": SHORT}, r"32 bytes.*WSGI_SESSIONS_SECRET_KEYS.*keygen.*may then stay"),
        ({"SECRET_KEY_FALLBACKS": OTHER}, "SECRET_KEY_FALLBACKS: must be a list"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "SAMESITE is SESSION_COOKIE_SAMESITE of the Flask"),
        ({"WSGI_SESSIONS_COOKIE_NAME": "a b", "SESSION_COOKIE_NAME": "sid"}, r"and _$"),
        ({"SESSION_COOKIE_NAME": "a b"}, "COOKIE_NAME is SESSION_COOKIE_NAME of the Flask"),
        ({"PERMANENT_SESSION_LIFETIME": "1 month"}, "PERMANENT_SESSION_LIFETIME='1 month': must"),
        (
            {"PERMANENT_SESSION_LIFETIME": timedelta(0)},
            "LIFETIME='0.000': out of",
        ),
        ({"WSGI_SESSIONS_URL": "nonsense"}, "WSGI_SESSIONS_URL='nonsense': must be"),
        (
            {"WSGI_SESSIONS_REFRESH": print},
            "WSGI_SESSIONS_REFRESH: cannot be a builtin_function_or_method",
        ),
    ],
)
def test_nonsense_stops_the_start(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as error:
        make(**wrong)
    assert SHORT not in str(error.value)


def test_fallbacks_are_older_the_later_they_come() -> None:
    newest, older, oldest = SECRET, OTHER, "o" * 32
    assert secrets_of(newest, [older, oldest]) == (oldest, older, newest)
    assert secrets_of(newest, None) == (newest,)
    assert secrets_of(newest, [newest, SHORT, older]) == (older, newest)
    binary = bytes(range(200, 240))
    assert secrets_of(binary, [OTHER.encode()]) == (OTHER, binary.hex())


def test_a_key_is_rotated_without_a_log_out() -> None:
    app = make()
    client = app.test_client()
    client.get("/set/a/1")
    app.config.update(SECRET_KEY=OTHER, SECRET_KEY_FALLBACKS=[SECRET])
    assert client.get("/get").json == {"a": "1"}
    renewed = cookie_of(client)
    name = application_of(app).name
    assert IdSigner([OTHER], name).verify(renewed), "signed by the new key, not by a fallback"
    app.config.update(SECRET_KEY_FALLBACKS=[])
    assert client.get("/get").json == {"a": "1"}
    app.config.update(SECRET_KEY=SECRET)
    assert client.get("/get").json == {}


def test_without_a_secret_writing_tells_what_is_missing() -> None:
    app = make(SECRET_KEY=None)
    client = app.test_client()
    assert client.get("/get").json == {}
    app.testing = True
    with pytest.raises(RuntimeError, match="no secret key was set"):
        client.get("/set/a/1")
    with pytest.raises(RuntimeError, match="did not open"), client.session_transaction():
        pass
    with pytest.raises(RuntimeError, match="SECRET_KEY is not set"):
        app.session_interface.manager(app)  # type: ignore[attr-defined]


def test_an_unknown_hook_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown hook 'on_events'"):
        WSGISessions(on_events=print)  # type: ignore[call-arg]


# -- the session -----------------------------------------------------------------------------------


def test_it_knows_what_flask_s_sessions_know() -> None:
    app = make()
    facts: list[Any] = []

    @app.get("/facts")
    def tell() -> str:
        opened: Any = flask.globals.request_ctx._session
        facts[:] = [opened.accessed]
        facts.append(session.new)
        facts.append(session.accessed)
        facts.append(session.modified)
        session.setdefault("list", []).append(1)
        facts.append(session.modified)
        return ""

    client = app.test_client()
    client.get("/facts")
    assert facts == [False, True, True, False, True]
    with client:
        client.get("/facts")
        assert facts == [False, False, True, False, True]
        assert session.modified
        assert session["list"] == [1, 1], "found, though it was changed in place"


def test_it_is_one_session_with_the_environ_s() -> None:
    app = make()

    @app.get("/both")
    def both() -> str:
        session["a"] = 1
        ours = get_session(flask.request.environ)
        ours.increment("a")
        assert isinstance(session._get_current_object(), FlaskSession)  # type: ignore[attr-defined]
        session.increment("a")  # type: ignore[attr-defined]
        session.append("b", 2)  # type: ignore[attr-defined]
        with session.exclusive():  # type: ignore[attr-defined]
            assert dict(session) == dict(ours) == {"a": 3, "b": [2]}
        assert "3" not in repr(session)
        return ""

    client = app.test_client()
    assert client.get("/both").status_code == 200
    assert client.get("/get").json == {"a": 3, "b": [2]}


def test_undoing_what_was_changed() -> None:
    app = make()

    @app.get("/undo")
    def undo() -> str:
        session["a"] = "wrong"
        session.modified = False
        return ""

    @app.get("/undo/and/change")
    def change() -> str:
        session.modified = False
        session["b"] = "2"
        return ""

    client = app.test_client()
    client.get("/set/a/1")
    client.get("/undo")
    client.get("/undo/and/change")
    assert client.get("/get").json == {"a": "1", "b": "2"}


def test_values_survive_exactly_and_subclasses_as_in_flask() -> None:
    class Color(str, Enum):
        RED = "red"

    class Size(IntEnum):
        BIG = 3

    class Lazy:
        def __html__(self) -> str:
            return "<b>later</b>"

    exact = {"t": (1, [2]), "m": Markup("<b>"), "d": datetime.now(timezone.utc), "n": {1: b"\xff"}}
    app = make()
    client = app.test_client()
    with client.session_transaction() as opened:
        opened.update(exact)
        opened["flat"] = [Color.RED, Size.BIG, {"k": Lazy()}]
    with client.session_transaction() as opened:
        flat = opened.pop("flat")
        assert dict(opened) == exact
        assert type(opened["m"]) is Markup
        assert flat == ["red", 3, {"k": Markup("<b>later</b>")}]
        assert [type(value) for value in flat] == [str, int, dict]
        with pytest.raises(TypeError, match="cannot be kept"):
            opened["x"] = object()


def test_flashes_cross_redirects_and_none_is_lost() -> None:
    app = make()

    @app.get("/flash/<text>")
    def flash(text: str) -> ResponseReturnValue:
        flask.flash(Markup("<b>{}</b>").format(text), "warning")
        if "twice" in flask.request.args:
            with_cookie(app, flask.request.cookies["session"]).get("/flash/other")
        return flask.redirect("/show")

    @app.get("/show")
    def show() -> str:
        messages: Any = flask.get_flashed_messages(with_categories=True)
        assert all(type(message) is tuple and type(message[1]) is Markup for message in messages)
        return ",".join(f"{category}:{text}" for category, text in messages)

    client = app.test_client()
    assert client.get("/flash/a", follow_redirects=True).text == "warning:<b>a</b>"
    assert client.get("/show").text == ""
    client.get("/set/a/1")
    client.get("/flash/a?twice")  # another request flashes meanwhile
    assert client.get("/show").text == "warning:<b>other</b>,warning:<b>a</b>"


def test_clearing_ends_the_session() -> None:
    app = make()
    client = app.test_client()
    client.get("/set/user/alice")
    stolen = cookie_of(client)
    assert attributes(client.get("/clear"))["Max-Age"] == "0"
    assert client.get_cookie("session") is None
    assert with_cookie(app, stolen).get("/get").json == {}


def test_popping_the_last_key_ends_the_session() -> None:
    app = make()
    client = app.test_client()
    client.get("/set/a/1")
    client.get("/set/b/1")
    old = cookie_of(client)
    assert "Set-Cookie" not in client.get("/pop/a").headers
    assert attributes(client.get("/pop/b"))["Max-Age"] == "0"
    with_cookie(app, old).get("/set/c/1")
    assert with_cookie(app, old).get("/get").json == {}, "its id is dead"


def test_data_of_another_request_keeps_the_session() -> None:
    app = make()

    @app.get("/slow/pop")
    def slow_pop() -> str:
        session.pop("a")
        with_cookie(app, flask.request.cookies["session"]).get("/set/b/2")
        return ""

    client = app.test_client()
    client.get("/set/a/1")
    client.get("/slow/pop")
    assert client.get("/get").json == {"b": "2"}


def test_clearing_and_logging_in_gives_a_new_id() -> None:
    app = make()

    @app.get("/relogin")
    def relogin() -> str:
        session.clear()
        session["user"] = "alice"
        return ""

    client = app.test_client()
    client.get("/set/planted/1")
    planted = cookie_of(client)
    client.get("/relogin")
    assert client.get("/get").json == {"user": "alice"}
    assert with_cookie(app, planted).get("/get").json == {}


# -- lifetime --------------------------------------------------------------------------------------


def test_permanent_is_remembered_and_forgotten() -> None:
    app = make(PERMANENT_SESSION_LIFETIME=timedelta(hours=2))
    client = app.test_client()
    client.get("/set/a/1")
    told = attributes(client.get("/permanent/yes"))
    assert told["Max-Age"] == "7200"
    expires = datetime.strptime(told["Expires"], "%a, %d %b %Y %H:%M:%S %Z")
    left = expires.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)
    assert timedelta(hours=1, minutes=55) < left < timedelta(hours=2, minutes=5)
    with client.session_transaction() as opened:
        assert opened.permanent is True
        assert "_permanent" not in opened
    assert "Max-Age" not in attributes(client.get("/permanent/no"))
    assert "Set-Cookie" not in client.get("/get").headers


def test_that_it_is_permanent_alone_is_not_stored() -> None:
    app = make()
    app.before_request(lambda: setattr(session, "permanent", True))
    client = app.test_client()
    assert "Set-Cookie" not in client.get("/nothing").headers
    assert "Max-Age" in attributes(client.get("/set/a/1"))


def test_a_session_that_came_from_flask_stays_permanent() -> None:
    app = make()
    client = app.test_client()
    with client.session_transaction() as opened:
        opened.update({"_permanent": True, "a": 1})
    assert "Max-Age" in attributes(client.get("/get"))
    assert client.get("/get").json == {"a": 1}
    with client.session_transaction() as opened:
        assert opened.permanent is True
        opened["_permanent"] = False
    client.get("/permanent/no")
    assert client.get("/get").json == {"a": 1}


def test_sessions_may_begin_permanent() -> None:
    app = make(SESSION_PERMANENT=True)
    client = app.test_client()
    assert attributes(client.get("/set/a/1"))["Max-Age"] == "2678400"
    assert "Max-Age" not in attributes(client.get("/permanent/no"))


@pytest.mark.parametrize("each", [True, False])
def test_permanent_sessions_are_renewed_at_each_request(each: bool) -> None:
    app = make(SESSION_REFRESH_EACH_REQUEST=each)
    client = app.test_client()
    client.get("/set/a/1")
    for path in ("/get", "/nothing"):
        assert "Set-Cookie" not in client.get(path).headers
    assert "Vary" not in client.get("/nothing").headers
    client.get("/permanent/yes")
    for path in ("/get", "/nothing"):
        response = client.get(path)
        assert ("Set-Cookie" in response.headers) == each
    assert ("Vary" in response.headers) == each


@pytest.mark.parametrize("each", [True, False])
def test_reading_moves_the_expiry_only_if_each_request_renews(
    each: bool, clock: MovedClock
) -> None:
    app = make(SESSION_REFRESH_EACH_REQUEST=each, PERMANENT_SESSION_LIFETIME=3600)
    client = app.test_client()
    client.get("/set/a/1")
    client.get("/permanent/yes")
    interface: Any = app.session_interface
    manager = interface.manager(app)
    key = store_key(cookie_of(client).partition(".")[0])
    before = manager.loader.find(key).expires_at
    clock.advance(1800)
    client.get("/get")
    assert (manager.loader.find(key).expires_at > before + 1000) == each


# -- ways in ---------------------------------------------------------------------------------------


def test_a_session_transaction_reads_and_writes() -> None:
    app = make()
    client = app.test_client()
    with client.session_transaction() as opened:
        assert (len(opened), opened.new) == (0, True)
        opened["list"] = [42]
    assert client.get("/get").json == {"list": [42]}
    with client.session_transaction() as opened:
        opened["list"].append(43)
    assert client.get("/get").json == {"list": [42, 43]}
    with client.session_transaction() as opened:
        opened.clear()
    assert client.get_cookie("session") is None


def test_a_session_transaction_tells_of_a_store_that_fails() -> None:
    require(available())
    with RedisServer() as redis:
        client = make(WSGI_SESSIONS_URL=redis.url).test_client()
        client.get("/set/a/1")
        with pytest.raises(StoreUnavailable):
            change_while_it_dies(client, redis)
        with pytest.raises(StoreUnavailable), client.session_transaction() as opened:
            opened.get("a")


def change_while_it_dies(client: FlaskClient, redis: RedisServer) -> None:
    with client.session_transaction() as opened:
        opened["a"] = 2
        redis.kill()


def test_a_request_context_of_a_test() -> None:
    app = make()
    with app.test_request_context("/"):
        session["a"] = 1
        response = app.process_response(app.response_class())
        assert "session=" in response.headers["Set-Cookie"]
        assert response.headers["Vary"] == "Cookie"
    value = response.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    assert with_cookie(app, value).get("/get").json == {"a": 1}


@pytest.mark.parametrize("assigned", [lambda: WSGISessions(), None])
def test_an_interface_that_is_only_assigned(assigned: Any) -> None:
    app = Flask(__name__)
    app.secret_key = SECRET
    app.session_interface = assigned() if assigned else WSGISessions(app)
    add_routes(app)

    @app.get("/stream/<item>")
    def stream(item: str) -> Response:
        def body() -> Iterator[str]:
            yield "first"
            session["late"] = item

        session["item"] = item
        return Response(stream_with_context(body()))

    client = app.test_client()
    for item in ("1", "2"):  # the very first request is the one that finds nothing wrapped
        with client.get(f"/stream/{item}") as response:
            assert response.get_data() == b"first"
        assert client.get("/get").json == {"item": item, "late": item}


def test_another_interface_is_left_alone() -> None:
    app = make()
    app.session_interface = flask.sessions.SecureCookieSessionInterface()
    client = app.test_client()
    client.get("/set/a/1")
    assert client.get("/get").json == {"a": "1"}
    assert cookie_of(client).startswith("eyJ"), "Flask's own"
    assert client.get("/health/live").status_code == 404


def test_two_applications_of_one_interface_in_each_other() -> None:
    sessions = WSGISessions()
    outer, inner = Flask("outer"), Flask("inner")
    for app in (outer, inner):
        app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_NAME=app.name)
        sessions.init_app(app)
        add_routes(app)

    @outer.get("/inner")
    def call_inner() -> Any:
        session["a"] = "of outer"
        flask.request.environ["PATH_INFO"] = "/set/a/of inner"
        return inner

    client = outer.test_client()
    assert client.get("/inner").text == "set"
    assert client.get("/get").json == {"a": "of outer"}
    assert cookie_of(client, "inner") != cookie_of(client, "outer")


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_proxy_that_ends_tls(place: str) -> None:
    app = Flask(__name__)
    app.secret_key = SECRET
    if place == "inside":
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    WSGISessions(app)
    if place == "outside":
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    add_routes(app)
    response = app.test_client().get("/set/a/1", headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in attributes(response)


def test_blueprints_and_functions_after_the_request() -> None:
    app = make()
    shop = Blueprint("shop", __name__, url_prefix="/shop")

    @shop.get("/")
    def index() -> str:
        session["seen"] = "shop"
        return ""

    @shop.after_request
    def count(response: Response) -> Response:
        session["count"] = session.get("count", 0) + 1
        response.set_cookie("mine", "1")
        return response

    app.register_blueprint(shop)
    client = app.test_client()
    client.get("/shop/")
    names = [line.partition("=")[0] for line in client.get("/shop/").headers.getlist("Set-Cookie")]
    assert names == ["mine"]
    assert client.get("/get").json == {"seen": "shop", "count": 2}


def test_streams_may_change_the_session_before_and_after_the_headers() -> None:
    app = make()

    @app.get("/stream")
    def stream() -> Response:
        def body() -> Iterator[str]:
            session["early"] = 1  # with the first chunk: the cookie can still be sent
            yield session["before"]
            session["late"] = 2  # committed when the body is closed
            yield "last"

        session["before"] = "first "
        return Response(stream_with_context(body()))

    client = app.test_client()
    with client.get("/stream") as response:
        assert response.get_data() == b"first last"
    assert client.get("/get").json == {"before": "first ", "early": 1, "late": 2}


# -- failures --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dead_redis() -> Iterator[str]:
    require(available())
    with RedisServer() as redis:
        redis.kill()
        yield redis.url


@pytest.mark.parametrize("handled", ["not at all", "500", "all"])
@pytest.mark.parametrize("testing", [True, False])
def test_a_store_that_does_not_answer_is_a_503(
    dead_redis: str, handled: str, testing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(TESTING=testing, WSGI_SESSIONS_URL=dead_redis)
    if handled == "500":
        app.register_error_handler(500, lambda error: (session.get("theme", "none"), 500))
    if handled == "all":
        app.register_error_handler(Exception, lambda error: ("oops", 200))

    @app.after_request
    def look(response: Response) -> Response:
        if flask.request.path == "/after":
            session.get("a")
        return response

    client = with_cookie(app, of_nobody(app))
    for path in ("/get", "/set/a/1", "/clear"):
        response = client.get(path)
        assert response.status_code == 503, path
        assert response.headers["Retry-After"] == "1"
        assert "Set-Cookie" not in response.headers
    assert "Exception on" not in caplog.text
    if handled != "all":  # that handler took it for its own
        assert client.get("/after").status_code == 503
    assert client.get("/nothing").text == "nothing", "a route without a session works"
    anonymous = app.test_client()
    assert anonymous.get("/get").json == {}
    assert anonymous.get("/set/a/1").status_code == 503, "at the commit, when Flask is done"


def test_a_fault_in_a_stream_is_a_503(dead_redis: str) -> None:
    app = make(WSGI_SESSIONS_URL=dead_redis)

    @app.get("/stream")
    def stream() -> Response:
        return Response(stream_with_context(session.get(key, "") for key in ("a", "b")))

    assert with_cookie(app, of_nobody(app)).get("/stream").status_code == 503


def test_a_handler_of_its_own_may_go_on_without_a_session(dead_redis: str) -> None:
    app = make(WSGI_SESSIONS_URL=dead_redis)
    app.register_error_handler(StoreUnavailable, lambda error: "read only for now")
    assert with_cookie(app, of_nobody(app)).get("/get").text == "read only for now"


def test_a_lock_that_is_held_is_a_503_and_nothing_is_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make()

    @app.get("/locked")
    def locked() -> str:
        session["a"] = "2"
        with session.exclusive(timeout=0.01):  # type: ignore[attr-defined]
            return "never"

    client = app.test_client()
    client.get("/set/a/1")
    key = store_key(cookie_of(client).partition(".")[0])
    interface: Any = app.session_interface
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with interface.manager(app).hold(key, 5.0):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    try:
        response = client.get("/locked")
    finally:
        leave.set()
        thread.join()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert "session unavailable" in caplog.text, "reported like any other"
    assert client.get("/get").json == {"a": "1"}


def test_a_conflict_that_is_to_be_raised_is_a_409() -> None:
    app = make(WSGI_SESSIONS_ON_CONFLICT="raise")

    @app.get("/slow/<value>")
    def slow(value: str) -> str:
        session["a"] = session["a"] + value
        with_cookie(app, flask.request.cookies["session"]).get(f"/set/a/other{value}")
        if "exclusive" in flask.request.args:
            with session.exclusive():  # type: ignore[attr-defined]
                pass
        return value

    client = app.test_client()
    client.get("/set/a/1")
    for path in ("/slow/1", "/slow/2?exclusive"):
        assert client.get(path).status_code == 409
        assert client.get("/get").json == {"a": f"other{path[6]}"}


def test_flask_handles_the_error_of_a_value_that_no_session_can_hold() -> None:
    app = make()
    app.register_error_handler(500, lambda error: ("own page", 500))

    @app.get("/wrong")
    def wrong() -> str:
        session["list"] = []
        session["list"].append(object())
        return ""

    client = app.test_client()
    client.get("/set/a/1")
    assert client.get("/wrong").text == "own page"
    assert client.get("/get").json == {"a": "1"}


def test_an_error_of_the_application_stores_nothing() -> None:
    app = make()

    @app.get("/raise")
    def fail() -> str:
        session["a"] = "wrong"
        raise RuntimeError

    client = app.test_client()
    client.get("/set/a/1")
    assert client.get("/raise").status_code == 500
    assert client.get("/get").json == {"a": "1"}


# -- extensions ------------------------------------------------------------------------------------

OURS = "wsgi_sessions.contrib.flask.WSGISessions"


def test_flask_login_logs_in_and_out() -> None:
    app = flask_app.create(SECRET_KEY=SECRET, SESSIONS=OURS)
    client = app.test_client()
    client.get("/put/tea")
    before = cookie_of(client)
    welcome = client.get("/login/alice", follow_redirects=True)
    assert welcome.json is not None
    assert (welcome.json["user"], welcome.json["flashes"]) == (
        "alice",
        [["info", "Welcome, alice"]],
    )
    logged_in = cookie_of(client)
    assert logged_in != before, "a new id at log-in"
    assert client.get("/private").json == {"cart": ["tea"], "prices": {"tea": 3}}
    interface: Any = app.session_interface
    assert len(interface.manager(app).sessions_of("alice")) == 1
    client.get("/logout")
    for old in (before, logged_in):
        assert with_cookie(app, old).get("/private").status_code == 401


def test_flask_login_remembers() -> None:
    app = flask_app.create(SECRET_KEY=SECRET, SESSIONS=OURS)
    client = app.test_client()
    client.get("/login/alice?remember")
    assert client.get_cookie("remember_token") is not None
    client.delete_cookie("session")  # the browser was closed
    assert client.get("/me").json["user"] == "alice"  # type: ignore[index]
    again = cookie_of(client)
    client.get("/logout")
    assert client.get_cookie("remember_token") is None
    assert client.get("/private").status_code == 401
    assert with_cookie(app, again).get("/private").status_code == 401


def test_hooks_are_those_of_build() -> None:
    """Here: what a user of Flask-Login worked on comes back after the next log-in."""
    app = flask_app.create(
        SECRET_KEY=SECRET, SESSIONS="builtins.id", WSGI_SESSIONS_CONTEXT_KEY="deal"
    )
    events: list[Event] = []
    WSGISessions(app, on_event=events.append, may_access=lambda user, deal, _: user == "alice")
    add_routes(app)
    client = app.test_client()
    client.get("/login/alice")
    client.get("/set/deal/12")
    client.get("/logout")
    client.get("/clear")
    assert "deal" not in client.get("/get").json  # type: ignore[operator]
    client.get("/login/alice")
    assert client.get("/get").json["deal"] == "12"  # type: ignore[index]
    assert {"created", "context-restored"} <= {event.name for event in events}


def test_all_sessions_of_a_user_are_ended() -> None:
    app = flask_app.create(SECRET_KEY=SECRET, SESSIONS=OURS)
    clients = [app.test_client() for _ in range(3)]
    for client in clients:
        client.get("/login/alice")
    interface: Any = app.session_interface
    assert interface.manager(app).destroy_sessions_of("alice") == 3
    assert [client.get("/private").status_code for client in clients] == [401, 401, 401]


def test_flask_wtf_protects_forms() -> None:
    app = make()
    CSRFProtect(app)
    app.post("/post", endpoint="post")(lambda: "posted")
    app.get("/token", endpoint="token")(generate_csrf)
    client = app.test_client()
    token = client.get("/token").text
    assert client.post("/post").status_code == 400
    assert client.post("/post", data={"csrf_token": token}).text == "posted"
    stranger = app.test_client()
    stranger.get("/token")
    assert stranger.post("/post", data={"csrf_token": token}).status_code == 400


# -- servers ---------------------------------------------------------------------------------------


def test_gunicorn_s_workers_share_the_sessions() -> None:
    environ = {"FLASK_SESSIONS": OURS, "FLASK_SECRET_KEY": SECRET}
    with GunicornServer(
        worker_class="gthread", app="flask_app:create()", environ=environ
    ) as server:
        browser = server.browser()
        browser.get("/login/alice")
        items = [f"item-{number}" for number in range(4)]
        query = server.gate().query(len(items))
        # Each worker has four threads: all are under way at the same time, wherever they land.
        calls = [partial(browser.twin().get, f"/put/{item}", **query) for item in items]
        assert [reply.status for reply in at_once(*calls)] == [200] * len(items)
        stored = browser.get("/private").json
        assert sorted(stored["cart"]) == items
        assert sorted(stored["prices"]) == items
        workers = server.workers()
        assert len(workers) > 1
        for worker in workers:
            with server.only(worker):
                assert browser.get("/me").json["pid"] == worker
        old = browser.twin()
        browser.get("/logout")
        assert old.get("/private").status == 401
        assert not re.search("Traceback|Exception", server.log())


def test_from_flask_session_by_configuration_only() -> None:
    """One application, two configurations, one Redis: what differs is what is lost."""
    require(available())
    with RedisServer() as redis, closing(redis.client()) as connection:
        theirs = flask_app.create(
            SECRET_KEY=SECRET,
            SESSIONS="flask_session.Session",
            SESSION_TYPE="redis",
            SESSION_REDIS=connection,
        )
        ours = flask_app.create(
            SECRET_KEY=SECRET, SESSIONS=OURS, SESSION_PERMANENT=True, WSGI_SESSIONS_URL=redis.url
        )
        seen = [use_the_shop(app) for app in (theirs, ours)]
        assert seen[0] == seen[1]
        assert seen[1]["cookie"] == ["Expires", "HttpOnly", "Path"]


def use_the_shop(app: Flask) -> dict[str, Any]:
    """What a visitor of the application sees, whatever keeps its sessions."""
    client = app.test_client()
    refused = client.get("/private").status_code
    client.get("/put/tea")
    login = client.get("/login/alice")
    flashes = client.get("/me").json["flashes"]  # type: ignore[index]
    client.get("/put/cup")
    private = client.get("/private").json
    cookie = cookie_of(client)
    client.get("/logout")
    after = client.get("/private").status_code
    return {
        "refused": refused,
        "location": login.location,
        "flashes": flashes,
        "private": private,
        "after": after,
        "cookie": sorted({"Expires", "HttpOnly", "Path"} & attributes(login).keys()),
        "old": with_cookie(app, cookie).get("/private").status_code,
    }


def test_flask_s_own_sessions_stay_logged_in() -> None:
    """With a key that is too short for our own cookies, as many have."""
    before = flask_app.create(SECRET_KEY=SHORT, SESSIONS="builtins.id")
    client = before.test_client()
    client.get("/login/alice")
    client.get("/put/tea")
    with client.session_transaction() as opened:
        opened["html"] = Markup("<b>")
        opened.permanent = True
    after = flask_app.create(
        SECRET_KEY=SHORT,
        SESSIONS=OURS,
        WSGI_SESSIONS_SECRET_KEYS=SECRET,
        WSGI_SESSIONS_IMPORT_FROM="flask-cookie://",
        WSGI_SESSIONS_IMPORT_UNTIL=date.max.replace(year=2999),
    )
    client = with_cookie(after, cookie_of(client))
    assert client.get("/private").json == {"cart": ["tea"], "prices": {"tea": 3}}
    assert client.get("/me").json["flashes"] == [["info", "Welcome, alice"]]  # type: ignore[index]
    with client.session_transaction() as opened:
        assert opened.permanent is True
        assert type(opened["html"]) is Markup
        assert "_permanent" not in opened
    interface: Any = after.session_interface
    assert len(interface.manager(after).sessions_of("alice")) == 1


def test_the_documented_application_moves_by_its_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(available())
    shop, *settings = blocks("python", PAGES["howto/flask"])
    assert shop.startswith("# shop.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "documented_shop.py").write_text(shop)
    with RedisServer() as redis:
        for when, text in zip(("before", "after"), settings, strict=True):
            assert text.startswith(f"# settings.py, {when}")
            name = f"settings_{when}"
            here = text.replace("redis://localhost:6379/0", redis.url)
            (tmp_path / f"{name}.py").write_text(here)
            app = import_module("documented_shop").create_app(name)
            newcomer = app.test_client()
            assert newcomer.post("/cart/tea").status_code == 401
            assert "Expires" in attributes(newcomer.post("/login/alice"))
            newcomer.post("/cart/tea")
            assert newcomer.post("/cart/cup").json == ["tea", "cup"], when
            if when == "before":
                loyal = cookie_of(newcomer)
                app.config["SESSION_REDIS"].close()
        moved = with_cookie(app, loyal).post("/cart/pot")
        assert moved.json == ["tea", "cup", "pot"], "still logged in, with the old cookie"
        assert "Expires" in attributes(moved)
