"""A request that does not touch its session makes no store call, in any framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_project
import pyramid_project
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from flask import Flask, request, session
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib import django as our_django
from wsgi_sessions.contrib import flask as our_flask
from wsgi_sessions.contrib import pyramid as our_pyramid
from wsgi_sessions.contrib.django.site import site as django_site
from wsgi_sessions.testing.tap import StoreTap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.contract import Backend

    Untouched = tuple[Browser, Backend]

SECRET = "a-secret-of-the-tests-with-32-bytes"
OURS = f"{django_project.ENGINE}.SessionMiddleware"


def plain() -> Iterator[Untouched]:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/put":
            get_session(environ)["a"] = "1"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"nothing"]

    stack = build(app, Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None))
    yield Browser(stack), stack.manager.backend
    stack.close()


def flask() -> Iterator[Untouched]:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://")
    app.config.update(SESSION_REFRESH_EACH_REQUEST=False, WSGI_SESSIONS_SWEEP_INTERVAL="off")
    sessions = our_flask.WSGISessions(app)

    @app.get("/put")
    def put() -> str:
        session.update(request.args)
        return "put"

    @app.get("/nothing")
    def nothing() -> str:
        return "nothing"

    yield Browser(app), sessions.manager(app).backend


def django() -> Iterator[Untouched]:
    with override_settings(WSGI_SESSIONS_URL="memory://"):
        yield Browser(WSGIHandler()), our_django.manager().backend
        django_site().close()


def wrapped_django() -> Iterator[Untouched]:
    middlewares = [OURS if each == django_project.DJANGOS else each for each in settings.MIDDLEWARE]
    with override_settings(WSGI_SESSIONS_URL="memory://", MIDDLEWARE=middlewares):
        stack = our_django.wrap(WSGIHandler())
        yield Browser(stack), stack.manager.backend
        django_site().close()


def pyramid() -> Iterator[Untouched]:
    app = pyramid_project.create()
    yield Browser(app), our_pyramid.manager(app.registry).backend


FRAMEWORKS = (plain, flask, django, wrapped_django, pyramid)


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def untouched(request: pytest.FixtureRequest) -> Iterator[Untouched]:
    yield from request.param()


def calls_of(untouched: Untouched, path: str, **more: Any) -> list[str]:
    browser, backend = untouched
    calls: list[str] = []

    def note(name: str, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return operation(*args, **kwargs)

    with StoreTap(backend, note):
        assert browser.get(path, **more).status == 200
    return calls


def test_a_request_that_does_not_touch_its_session_makes_no_store_call(
    untouched: Untouched,
) -> None:
    assert calls_of(untouched, "/nothing") == []
    assert "create" in calls_of(untouched, "/put", QUERY_STRING="a=1")
    browser, _ = untouched
    assert browser.cookies
    assert calls_of(untouched, "/nothing") == []


def test_a_request_that_changes_its_session_makes_two(untouched: Untouched) -> None:
    calls_of(untouched, "/put", QUERY_STRING="a=1")
    assert calls_of(untouched, "/put", QUERY_STRING="b=2") == ["load", "save"]
