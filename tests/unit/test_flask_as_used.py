"""Flask as it is used: interfaces and applications that are subclassed, and a session as a dict."""

from __future__ import annotations

import copy
import json
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from flask import Flask, g, render_template_string, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_clients import all_closed

from wsgi_sessions.contrib.flask import WSGISessions, current_session
from wsgi_sessions.contrib.flask.mapping import FlaskSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.sessions import SessionMixin
    from werkzeug.test import TestResponse

    from wsgi_sessions import Event

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with all_closed(monkeypatch):
        yield


def serve(interface: Any, app: Flask | None = None, **config: object) -> Flask:
    app = app or Flask(__name__)
    if app.secret_key is None:
        app.secret_key = SECRET
    app.config.update(WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_SWEEP_INTERVAL="off", **config)
    if hasattr(interface, "init_app"):
        interface.init_app(app)
    app.session_interface = interface

    @app.get("/set/<key>/<value>")
    def put(key: str, value: str) -> str:
        g.is_api = "api" in request.args
        session[key] = value
        return ""

    @app.get("/get")
    def get() -> dict[str, Any]:
        return dict(session)

    @app.get("/end")
    def end() -> str:
        session.clear()
        return ""

    return app


def cookie(response: TestResponse) -> str:
    return response.headers.get("Set-Cookie", "")


POINTS: dict[str, tuple[object, str]] = {
    "get_cookie_name": ("sid", "sid="),
    "get_cookie_domain": ("tenant.example", "; Domain=tenant.example"),
    "get_cookie_path": ("/set", "; Path=/set"),
    "get_cookie_secure": (True, "; Secure"),
    "get_cookie_samesite": ("Strict", "; SameSite=Strict"),
    "get_expiration_time": (datetime(2100, 1, 1, tzinfo=timezone.utc), "; Expires="),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("base", [SecureCookieSessionInterface, WSGISessions])
def test_a_subclass_result_is_in_the_cookie_as_in_flask(base: type[Any], point: str) -> None:
    value, text = POINTS[point]
    changed = type("Changed", (base,), {point: lambda *_: value})
    response = serve(changed()).test_client().get("/set/a/1", base_url="http://a.tenant.example")
    assert text in cookie(response)


def test_httponly_and_partitioned_too() -> None:
    class Open(WSGISessions):
        def get_cookie_httponly(self, app: Flask) -> bool:
            return False

        def get_cookie_partitioned(self, app: Flask) -> bool:
            return True

        def get_cookie_secure(self, app: Flask) -> bool:
            return True

    text = cookie(serve(Open()).test_client().get("/set/a/1"))
    assert "HttpOnly" not in text
    assert "Partitioned" in text


def test_a_point_may_answer_each_request_otherwise_and_the_cookie_is_read_by_it() -> None:
    class ByHost(WSGISessions):
        def get_cookie_name(self, app: Flask) -> str:
            return request.host.partition(".")[0]

    app = serve(ByHost())
    client = app.test_client()
    for host in ("a.example", "b.example"):
        text = cookie(client.get(f"/set/host/{host}", base_url=f"http://{host}"))
        assert text.startswith(f"{host[0]}=")
    for host in ("a.example", "b.example"):
        assert client.get("/get", base_url=f"http://{host}").json == {"host": host}


@pytest.mark.parametrize("base", [SecureCookieSessionInterface, WSGISessions])
def test_where_no_cookie_is_to_be_set_none_is_and_nothing_is_begun(base: type[Any]) -> None:
    class NoCookie(base):  # type: ignore[misc]
        def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
            return not g.get("is_api") and bool(super().should_set_cookie(app, session))

    client = serve(NoCookie()).test_client()
    assert cookie(client.get("/set/a/1?api")) == ""
    assert client.get("/get").json == {}
    assert cookie(client.get("/set/a/1")) != ""
    assert client.get("/get").json == {"a": "1"}


def test_without_a_cookie_what_needs_none_is_stored_and_the_rest_is_reported() -> None:
    events: list[Event] = []

    class NoCookie(WSGISessions):
        def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
            return "api" not in request.args

    client = serve(NoCookie(on_event=events.append)).test_client()
    client.get("/set/a/1")
    assert cookie(client.get("/set/a/2?api")) == ""
    assert client.get("/get").json == {"a": "2"}
    assert "dropped" not in {event.name for event in events}
    client.get("/set/_user_id/7?api")  # a log-in: it would need a new id
    assert client.get("/get").json == {"a": "2"}
    assert "dropped" in {event.name for event in events}


def test_a_log_out_deletes_the_cookie_whatever_should_set_cookie_says() -> None:
    class NoCookie(WSGISessions):
        def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
            return request.path.startswith("/set")

    client = serve(NoCookie()).test_client()
    client.get("/set/a/1")
    assert "Max-Age=0" in cookie(client.get("/end"))


def test_unsaved_changes_are_not_stored_and_are_reported() -> None:
    events: list[Event] = []

    class Skipping(WSGISessions):
        def save_session(self, *args: Any, **kwargs: Any) -> None:
            if not g.get("is_api"):
                super().save_session(*args, **kwargs)

    app = serve(Skipping(on_event=events.append))
    client = app.test_client()
    assert cookie(client.get("/set/a/1?api")) == ""
    assert [event.name for event in events] == ["dropped"]
    client.get("/set/a/1")
    client.get("/set/a/2?api")
    assert client.get("/get").json == {"a": "1"}
    with client.session_transaction() as saved:
        saved["a"] = "3"
    assert client.get("/get").json == {"a": "3"}


def test_an_expiry_that_moves_along_is_not_stored_with_each_request() -> None:
    events: list[Event] = []

    class Month(WSGISessions):
        def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
            if not session.get("remember"):
                return None
            return datetime.now(timezone.utc) + timedelta(days=int(session["remember"]))

    app = serve(Month(on_event=events.append))
    client = app.test_client()
    assert "Max-Age" not in cookie(client.get("/set/a/1"))
    client.get("/set/remember/20")
    interface: Any = app.session_interface
    backend = interface.manager(app).backend.sessions
    backend.save = saves = Mock(wraps=backend.save)
    lasting = cookie(client.get("/get"))
    assert saves.call_count == 0
    assert lasting.startswith("session=")
    assert f"Max-Age={20 * 24 * 3600 - 1}" in lasting or f"Max-Age={20 * 24 * 3600}" in lasting
    client.get("/set/remember/10")
    assert saves.call_count == 1


@pytest.mark.parametrize("kind", ["attribute", "property"])
def test_a_secret_key_of_the_application_s_class_counts(kind: str) -> None:
    key = SECRET if kind == "attribute" else property(lambda app: SECRET)
    lifetime = timedelta(days=3)
    app = type("App", (Flask,), {"secret_key": key, "permanent_session_lifetime": lifetime})(
        __name__
    )
    client = serve(WSGISessions(), app, SESSION_PERMANENT=True).test_client()
    assert f"Max-Age={3 * 24 * 3600}" in cookie(client.get("/set/a/1"))
    assert client.get("/get").json == {"a": "1"}


def test_saying_modified_renews_a_permanent_session() -> None:
    app = serve(WSGISessions(), SESSION_REFRESH_EACH_REQUEST=False, SESSION_PERMANENT=True)

    @app.get("/roll")
    def roll() -> str:
        session.modified = True
        return str(session.get("a"))

    client = app.test_client()
    client.get("/set/a/1")
    assert cookie(client.get("/get")) == ""
    assert "Max-Age" in cookie(client.get("/roll"))


def test_it_is_used_as_the_dict_that_flask_s_own_is() -> None:
    app = serve(WSGISessions())

    @app.get("/dict")
    def use() -> str:
        session.update(a=1, b=[2])
        ours: Any = session._get_current_object()  # type: ignore[attr-defined]
        whole = {"a": 1, "b": [2]}
        for taken in (ours.copy(), copy.copy(ours), copy.deepcopy(ours), ours | {}, {} | ours):
            assert type(taken) is dict
            assert taken == whole
        assert copy.deepcopy(ours)["b"] is not ours["b"]
        assert list(reversed(ours)) == ["b", "a"]
        assert json.loads(json.dumps(dict(ours))) == whole
        assert ours | {"a": 3} == {"a": 3, "b": [2]}
        assert {"c": 3} | ours == {"c": 3, **whole}
        ours |= {"c": 4}
        return ""

    client = app.test_client()
    assert client.get("/dict").status_code == 200
    assert client.get("/get").json == {"a": 1, "b": [2], "c": 4}


def test_its_sid_names_it_for_the_manager_and_does_not_open_it() -> None:
    app = serve(WSGISessions())

    @app.get("/sid")
    def sid() -> dict[str, str | None]:
        return {"sid": session.sid}  # type: ignore[attr-defined]

    @app.get("/regenerate")
    def regenerate() -> str:
        app.session_interface.regenerate(session)  # type: ignore[attr-defined]
        return ""

    client = app.test_client()
    assert client.get("/sid").json == {"sid": None}
    text = cookie(client.get("/set/_user_id/7"))
    answer: Any = client.get("/sid").json
    assert answer["sid"] not in text
    manager: Any = app.session_interface
    [listed] = manager.manager(app).sessions_of("7")
    assert answer["sid"] == listed.key
    assert cookie(client.get("/regenerate"))[:50] != text[:50]
    assert client.get("/get").json == {"_user_id": "7"}
    assert client.get("/sid").json != answer


def test_no_name_of_ours_hides_a_key_in_a_template() -> None:
    app = serve(WSGISessions())
    base = SecureCookieSessionInterface.session_class
    names = {name for name in dir(FlaskSession) if not hasattr(base, name)} - {"sid"}
    names |= {"exchange", "renew", "check", "increment", "append", "exclusive", "cycle_id", "flush"}
    public = sorted(name for name in names if not name.startswith("_"))

    @app.get("/page")
    def page() -> str:
        for name in public:
            session[name] = "value of " + name
        return "".join(
            render_template_string("{{ session." + name + " }};", session=session)
            for name in public
        )

    shown = app.test_client().get("/page").text
    assert shown == "".join(f"value of {name};" for name in public)


def test_the_typed_session_of_a_request() -> None:
    app = serve(WSGISessions())

    @app.get("/count")
    def count() -> str:
        session["increment"] = "a key"
        return str(current_session().increment("visits"))

    client = app.test_client()
    with closing(client.get("/count")) as response:
        assert response.text == "1"
    assert client.get("/count").text == "2"
