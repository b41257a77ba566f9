"""Commits in mid-request, then more changes: the cookie of the response is that of the state.

In plain WSGI and in each framework: a client that goes on with what its jar holds has the session
as the request left it, and the ids that died in between are dead.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import django_project
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.test import override_settings
from django.urls import path
from django_project import DJANGOS, ENGINE, SETTINGS
from pyramid.config import Configurator
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.django import wrap
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.http.environ import get_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "a-secret-of-the-tests-with-32-bytes"


class Acts(NamedTuple):
    """What a request may do with its session, in the framework's own words."""

    put: Callable[[str], object]
    commit: Callable[[], object]
    cycle: Callable[[], object]
    flush: Callable[[], object]

    def carry_out(self, script: str) -> None:
        """Do it all: ``put.a-commit-cycle``."""
        for act in filter(None, script.split("-")):
            name, _, argument = act.partition(".")
            getattr(self, name)(*filter(None, [argument]))


def acts_of(environ: Any, how: str = "at once") -> Acts:
    """Those of this package's own session; a commit takes place at once, or what it can of it."""
    session, transaction = get_session(environ), get_transaction(environ)
    commit = transaction.commit if how == "at once" else session.commit
    return Acts(lambda key: session.update({key: True}), commit, session.cycle_id, session.flush)


def plain(how: str = "at once") -> Iterator[Any]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        acts_of(environ, how).carry_out(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(sorted(session)).encode()]

    config = Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None)
    with closing(build(app, config)) as stack:
        yield stack


def in_flask() -> Iterator[Any]:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://")
    sessions = WSGISessions(app)

    @app.get("/")
    def run() -> Any:
        acts_of(flask.request.environ).carry_out(flask.request.query_string.decode())
        return flask.jsonify(sorted(flask.session))

    yield app
    sessions.close(app)


def in_pyramid() -> Iterator[Any]:
    def run(request: Any) -> Any:
        acts = acts_of(request.environ)
        acts._replace(flush=request.session.invalidate).carry_out(request.query_string)
        return sorted(request.session)

    settings = {"wsgi_sessions.url": "memory://", "wsgi_sessions.secret_keys": SECRET}
    with Configurator(settings=settings) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.add_route("run", "/")
        config.add_view(run, route_name="run", renderer="json")
        app = config.make_wsgi_app()
    yield app
    app.registry["wsgi_sessions"].close()


def run_in_django(request: Any) -> JsonResponse:
    """The view: a commit is ``save``."""
    session = request.session
    acts = Acts(
        lambda key: session.update({key: True}), session.save, session.cycle_key, session.flush
    )
    acts.carry_out(request.META["QUERY_STRING"])
    return JsonResponse(sorted(session.keys()), safe=False)


urlpatterns = [path("", run_in_django)]


def in_django(middleware: str = DJANGOS) -> Iterator[Any]:
    middlewares = [middleware, *SETTINGS["MIDDLEWARE"][1:]]
    names = {"MIDDLEWARE": middlewares, "ROOT_URLCONF": __name__}
    with override_settings(**names, WSGI_SESSIONS_URL="memory://"):
        yield WSGIHandler() if middleware == DJANGOS else wrap(WSGIHandler())
    site().close()


FRAMEWORKS: dict[str, Callable[[], Iterator[Any]]] = {
    "plain": plain,
    "plain-what-needs-no-cookie": lambda: plain("what needs no cookie"),
    "flask": in_flask,
    "pyramid": in_pyramid,
    "django": in_django,
    "wrapped-django": lambda: in_django(f"{ENGINE}.SessionMiddleware"),
}


@pytest.fixture(params=FRAMEWORKS)
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    assert django_project.ENGINE
    for app in FRAMEWORKS[request.param]():
        yield Browser(app)


def ask(browser: Browser, script: str = "") -> list[str]:
    """The keys of the session at the end of a request."""
    answer = browser.get("/", QUERY_STRING=script)
    assert answer.status == 200, answer.body
    answer.header("Set-Cookie")  # at most one
    found: list[str] = json.loads(answer.body)
    return found


def saves_empty(request: pytest.FixtureRequest, script: str) -> bool:
    """Django's ``save`` after ``flush`` stores a new session, without data."""
    return "django" in request.node.name and script.endswith("flush-commit")


@pytest.mark.parametrize(
    ("begun", "script", "left"),
    [
        ("", "put.a-commit", ["a"]),
        ("", "put.a-commit-put.b", ["a", "b"]),
        ("", "put.a-commit-put.b-commit-put.c", ["a", "b", "c"]),
        ("", "put.a-commit-cycle-put.b", ["a", "b"]),
        ("", "put.a-commit-cycle-commit-put.b-commit", ["a", "b"]),
        ("", "put.a-commit-flush", []),
        ("", "put.a-commit-flush-commit", []),
        ("", "put.a-commit-flush-put.b", ["b"]),
        ("", "put.a-commit-flush-commit-put.b", ["b"]),
        ("put.a", "put.b-commit", ["a", "b"]),
        ("put.a", "put.b-commit-put.c", ["a", "b", "c"]),
        ("put.a", "cycle-commit", ["a"]),
        ("put.a", "cycle-commit-put.b", ["a", "b"]),
        ("put.a", "put.b-commit-cycle-commit-put.c", ["a", "b", "c"]),
        ("put.a", "cycle-commit-cycle-commit-put.b", ["a", "b"]),
        ("put.a", "cycle-commit-flush", []),
        ("put.a", "cycle-commit-flush-commit-put.b", ["b"]),
        ("put.a", "flush-commit", []),
        ("put.a", "flush-commit-put.b", ["b"]),
        ("put.a", "flush-commit-put.b-commit-put.c", ["b", "c"]),
        ("put.a", "flush-commit-put.b-commit-flush", []),
    ],
)
def test_the_cookie_is_that_of_the_state(
    browser: Browser, begun: str, script: str, left: list[str], request: pytest.FixtureRequest
) -> None:
    if begun:
        assert ask(browser, begun) == ["a"]
    before = dict(browser.cookies)
    assert ask(browser, script) == left
    is_stored = bool(left) or saves_empty(request, script)
    assert bool(browser.cookies) is is_stored, "the cookie is deleted with the session"
    assert ask(browser) == left
    if "cycle" in script or "flush" in script:
        browser.cookies.clear()
        browser.cookies.update(before)
        assert ask(browser) == [], "the former id is dead"
