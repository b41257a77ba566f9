"""`SessionClient` around the test clients of Flask, Django and WebTest: the same words."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import django_project
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import Client as DjangoClient
from django.test import override_settings
from django.urls import path
from django_project import DJANGOS, ENGINE, SETTINGS
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import AppError, TestApp

from wsgi_sessions import Config, StoreUnavailable, build, get_session
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "s" * 40
_items = itertools.count()


class ClientOfKind(NamedTuple):
    """A client, and how its framework says what the tests ask."""

    client: SessionClient
    another: Callable[[], SessionClient]
    status: str = "status_code"
    user: Callable[[], str] = lambda: "alice"


def text_of(answer: Any) -> str:
    """The body, as each framework names it."""
    return str(answer.text if hasattr(answer, "text") else answer.content.decode())


def bump(session: Any) -> str:
    """What each application does at /bump: a count that overlaps, and a list that merges."""
    session["n"] = session.get("n", 0) + 1
    session.setdefault("items", []).append(next(_items))
    return str(session["n"])


def flask_client() -> Iterator[ClientOfKind]:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", TESTING=True)
    sessions = WSGISessions(app)
    app.add_url_rule("/bump", "bump", lambda: bump(flask.session), methods=["GET", "POST"])
    app.add_url_rule("/fail", "fail", lambda: str(1 // 0))
    with SessionClient(app.test_client()) as client:
        yield ClientOfKind(client, lambda: SessionClient(app.test_client()))
    sessions.close(app)


def webtest_client() -> Iterator[ClientOfKind]:
    def fail(_request: Any) -> Response:
        raise ZeroDivisionError

    settings = {"wsgi_sessions.url": "memory://", "wsgi_sessions.secret_keys": SECRET}
    with Configurator(settings=settings) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.add_route("bump", "/bump")
        config.add_route("fail", "/fail")
        config.add_view(lambda request: Response(bump(request.session)), route_name="bump")
        config.add_view(fail, route_name="fail")
        app = config.make_wsgi_app()
    with SessionClient(TestApp(app)) as client:
        yield ClientOfKind(client, lambda: SessionClient(TestApp(app)), "status_int")
        client.backend.close()


def bump_in_django(request: Any) -> Any:
    """See `bump`."""
    return HttpResponse(bump(request.session))


def fail_in_django(_request: Any) -> Any:
    """A view that raises."""
    raise ZeroDivisionError


urlpatterns = [
    path("bump", bump_in_django),
    path("fail", fail_in_django),
    *django_project.urlpatterns,
]


def user_of_django() -> str:
    """Alice, as Django has her in the session."""
    return str(django_project.make_user("alice").pk)


def django_client(middleware: str) -> Iterator[ClientOfKind]:
    middlewares = [middleware, *SETTINGS["MIDDLEWARE"][1:]]
    changed = override_settings(
        MIDDLEWARE=middlewares, ROOT_URLCONF=__name__, WSGI_SESSIONS_URL="memory://"
    )
    with changed, SessionClient(DjangoClient()) as client:
        yield ClientOfKind(client, lambda: SessionClient(DjangoClient()), user=user_of_django)
    site().close()


def plain_client() -> Iterator[ClientOfKind]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise ZeroDivisionError
        body = bump(get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body.encode()]

    config = Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None)
    with closing(build(app, config)) as stack, SessionClient(stack) as client:
        yield ClientOfKind(client, lambda: SessionClient(stack))


KINDS: dict[str, Callable[[], Iterator[ClientOfKind]]] = {
    "werkzeug": plain_client,
    "flask": flask_client,
    "webtest": webtest_client,
    "django": lambda: django_client(DJANGOS),
    "django-ours": lambda: django_client(f"{ENGINE}.SessionMiddleware"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[ClientOfKind]:
    django_project.make_user("alice")
    yield from KINDS[request.param]()


@pytest.fixture
def client(kind: ClientOfKind) -> SessionClient:
    return kind.client


def test_a_log_in_is_a_session_of_that_user(kind: ClientOfKind) -> None:
    client = kind.client
    client.login("alice", n=5)
    assert text_of(client.get("/bump")) == "6"
    assert text_of(kind.another().get("/bump")) == "1", "another browser"
    assert client.manager.destroy_sessions_of(kind.user()) == 1
    assert text_of(client.get("/bump")) == "1"


def test_changes_in_a_block_are_stored(client: SessionClient) -> None:
    with client.session() as session:
        session["n"] = 1
    assert text_of(client.get("/bump")) == "2"
    with client.session() as session:
        assert (session["n"], len(session["items"])) == (2, 1)
        session.flush()
    assert text_of(client.get("/bump")) == "1"


def test_a_block_that_raises_stores_nothing(client: SessionClient) -> None:
    client.get("/bump")
    with pytest.raises(ZeroDivisionError), client.session() as session:
        session["n"] = 1 / 0
    assert text_of(client.get("/bump")) == "2"


def test_a_block_on_a_store_that_fails_raises(client: SessionClient) -> None:
    client.get("/bump")
    with client.fail_store("save"), pytest.raises(StoreUnavailable), client.session() as session:
        session["n"] = 5
    assert text_of(client.get("/bump")) == "2"


def test_time_passes_at_once(client: SessionClient) -> None:
    client.get("/bump")
    client.advance(hours=1)
    assert text_of(client.get("/bump")) == "2"
    client.advance(days=40)
    assert text_of(client.get("/bump")) == "1"


def test_a_store_fails_on_demand(kind: ClientOfKind, request: pytest.FixtureRequest) -> None:
    client = kind.client
    client.get("/bump")
    with client.fail_store("load"):
        if kind.status == "status_int":  # WebTest raises for a status that is not expected
            with pytest.raises(AppError, match="503"):
                client.get("/bump")
        elif request.node.callspec.id == "django":  # its middleware knows no 503
            with pytest.raises(StoreUnavailable):
                client.get("/bump")
        else:
            assert getattr(client.get("/bump"), kind.status) == 503
    assert text_of(client.get("/bump")) == "2"


def test_requests_overlap_in_the_same_way_each_time(client: SessionClient) -> None:
    for _ in range(5):
        with client.session() as session:
            session.flush()
        client.login("alice", n=0, items=[])
        answers = client.parallel("/bump", {"path": "/bump", "method": "GET"}, "/bump?x=1")
        assert [text_of(answer) for answer in answers] == ["1", "1", "1"]
        with client.session() as session:
            assert (session["n"], len(session["items"])) == (1, 3)


def test_cookies_of_overlapping_requests_are_kept(client: SessionClient) -> None:
    """As by a browser: the last one that comes counts."""
    client.parallel("/bump", "/bump")
    assert text_of(client.get("/bump")) == "2"


def test_an_application_s_exception_is_raised(client: SessionClient) -> None:
    client.login("alice", n=1)
    with pytest.raises(ZeroDivisionError):
        client.parallel("/bump", "/fail")
    assert text_of(client.get("/bump")) == "3"


def test_the_framework_s_own_client_is_inside(client: SessionClient) -> None:
    assert client.get.__self__ is client.wrapped
    with pytest.raises(AttributeError, match="unheard_of"):
        client.unheard_of()
    with pytest.raises(AttributeError, match="_unheard_of"):
        getattr(client, "_unheard_of")  # noqa: B009


# -- one framework each ----------------------------------------------------------------------------


def test_flask_s_request_stays_at_hand_in_the_client_s_own_block() -> None:
    for kind in flask_client():
        with kind.client.application.test_client() as inner:
            client = SessionClient(inner)
            for n in "12":
                client.post("/bump", data={"n": n})
                assert flask.request.form["n"] == n
                client.parallel("/bump", {"path": "/bump", "method": "POST", "data": {"n": n}})


def test_django_s_users_are_logged_in_by_object_too() -> None:
    alice = django_project.make_user("alice")
    for kind in django_client(DJANGOS):
        kind.client.login(alice)
        assert text_of(kind.client.get("/whoami")) == "alice"
        answers = kind.client.parallel("/whoami", "/whoami")
        assert [text_of(each) for each in answers] == ["alice", "alice"], "of the test's database"


def test_django_with_another_engine_is_refused() -> None:
    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.file"),
        pytest.raises(ValueError, match=r"backends\.file.*wsgi_sessions\.contrib\.django"),
    ):
        SessionClient(DjangoClient())


def test_a_client_of_an_application_without_sessions_is_refused() -> None:
    for client in (flask.Flask(__name__).test_client(), TestApp(WSGIHandler())):
        with pytest.raises(ValueError, match="no sessions of wsgi_sessions"):
            SessionClient(client)
