"""The programs of the page about tests of applications, run on an application of each framework."""

from __future__ import annotations

import io
import re
import unittest
from contextlib import closing
from typing import TYPE_CHECKING, Any

import flask
import pytest
from django.http import JsonResponse
from django.test import override_settings
from django.urls import path
from django_project import ENGINE, SETTINGS
from documents import PAGES, blocks
from pyramid.config import Configurator

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.contrib.flask import WSGISessions

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

SECRET = "a-secret-of-the-tests-with-32-bytes"
PAGE = PAGES["howto/test-your-application"]
PROGRAMS = {
    name[1] if (name := re.match(r"# (\S+)\.py", program)) else "plain": program
    for program in blocks("python", PAGE)
}


def shop(session: MutableMapping[str, Any], page: str, item: Any) -> tuple[int, Any]:
    """The pages of each application under test: a status, and what is shown."""
    if page == "/add":
        session.setdefault("cart", []).append(item)
    if page == "/account" and "cart" not in session:
        return 401, None
    return 200, session.get("cart")


def test_there_is_a_program_for_each_client() -> None:
    assert list(PROGRAMS) == ["plain", "test_flask_shop", "tests", "test_pyramid_shop"]


def test_any_application() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        item = int(environ["QUERY_STRING"].removeprefix("item=") or 0)
        status, _ = shop(get_session(environ), environ["PATH_INFO"], item)
        start_response({200: "200 OK", 401: "401 Unauthorized"}[status], [])
        return []

    with closing(build(app, Config(url="memory://", secret_keys=(SECRET,)))) as stack:
        names_of("plain")["test_the_cart"](stack)


def names_of(name: str) -> dict[str, Any]:
    """The names of a program, after it has run."""
    names: dict[str, Any] = {"__name__": name}
    exec(PROGRAMS[name], names)
    return names


def test_flask() -> None:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", TESTING=True)
    sessions = WSGISessions(app)

    @app.route("/<page>", methods=["GET", "POST"])
    def show(page: str) -> Any:
        status, cart = shop(flask.session, f"/{page}", flask.request.values.get("item"))
        return flask.jsonify(cart), status

    names_of("test_flask_shop")["test_the_cart"](app)
    sessions.close(app)


def show_in_django(request: Any) -> JsonResponse:
    """A view for all pages."""
    item = request.GET.get("item") or request.POST.get("item")
    status, cart = shop(request.session, request.path, item)
    return JsonResponse(cart, status=status, safe=False)


urlpatterns = [path(page, show_in_django) for page in ("add", "cart", "account")]


@pytest.fixture
def site_of_tests() -> Iterator[None]:
    middleware = [f"{ENGINE}.SessionMiddleware", *SETTINGS["MIDDLEWARE"][1:]]
    names = {"MIDDLEWARE": middleware, "ROOT_URLCONF": __name__}
    with override_settings(**names, WSGI_SESSIONS_URL="memory://"):
        yield
    site().close()


@pytest.mark.usefixtures("site_of_tests")
def test_django() -> None:
    from django.contrib.auth.models import User

    User.objects.filter(username="alice").delete()
    case = names_of("tests")["CartTests"]
    output = io.StringIO()
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    result = unittest.TextTestRunner(output).run(tests)
    assert (result.testsRun, result.wasSuccessful()) == (1, True), output.getvalue()


def test_pyramid() -> None:
    def show(request: Any) -> Any:
        status, cart = shop(request.session, request.path, request.params.get("item"))
        request.response.status_int = status
        return cart

    settings = {"wsgi_sessions.url": "memory://", "wsgi_sessions.secret_keys": SECRET}
    with Configurator(settings=settings) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.add_route("page", "/{page}")
        config.add_view(show, route_name="page", renderer="json")
        app = config.make_wsgi_app()
    names_of("test_pyramid_shop")["test_the_cart"](app)
    app.registry["wsgi_sessions"].close()
