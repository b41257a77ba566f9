"""Every framework tells its application why the session of a cookie is not there."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import django_project
import flask as flask_
import pyramid_project
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.template import engines
from django.test import override_settings
from django.urls import path
from pyramid.response import Response
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib import django as our_django
from wsgi_sessions.contrib import flask as our_flask
from wsgi_sessions.contrib import pyramid as our_pyramid
from wsgi_sessions.contrib.django.site import site as django_site
from wsgi_sessions.testing.clock import MovedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.core.manager import SessionManager

SECRET = "a-secret-of-the-tests-with-32-bytes"
OURS = f"{django_project.ENGINE}.SessionMiddleware"
USER = "ann"


class Losing(NamedTuple):
    """An application with /in, /out and /why; the last tells it in a page."""

    app: WSGIApplication
    manager: SessionManager
    user: str = USER


def plain() -> Iterator[Losing]:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/in":
            session.login(USER)
        elif environ["PATH_INFO"] == "/out":
            session.flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"[{session.lost}]".encode()]

    stack = build(app, Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None))
    yield Losing(stack, stack.manager)
    stack.close()


def flask() -> Iterator[Losing]:
    app = flask_.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://")
    app.config.update(WSGI_SESSIONS_SWEEP_INTERVAL="off", WSGI_SESSIONS_IDLE_LIFETIME="14d")
    sessions = our_flask.WSGISessions(app)

    @app.get("/in")
    def enter() -> str:
        our_flask.current_session().login(USER)
        return ""

    @app.get("/out")
    def leave() -> str:
        flask_.session.clear()
        return ""

    @app.get("/why")
    def why() -> str:
        assert flask_.session.lost == our_flask.current_session().lost  # type: ignore[attr-defined]  # Flask's
        return flask_.render_template_string("[{{ session.lost }}]")

    yield Losing(app, sessions.manager(app))
    sessions.close(app)


def tell(request: Any) -> HttpResponse:
    """A Django view, whose template tells it."""
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "NAME": "telling"}
    engine["OPTIONS"] = {"context_processors": ["django.template.context_processors.request"]}  # type: ignore[assignment]
    with override_settings(TEMPLATES=[engine]):
        page = engines["telling"].from_string("[{{ request.session.lost }}]")
        told = page.render({}, request)
    assert told == f"[{request.session.lost}]"
    return HttpResponse(told)


def urls() -> ModuleType:
    """The site's URLconf, with /why, and with the shorter names of the other two."""
    module = ModuleType("losing_urls")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("in", django_project.enter),
        path("out", django_project.leave),
        path("why", tell),
        path("said", lambda request: HttpResponse(f"[{request.session.lost}]")),
    ]
    return module


def django() -> Iterator[Losing]:
    user = django_project.make_user(USER)
    with override_settings(WSGI_SESSIONS_URL="memory://", ROOT_URLCONF=urls()):
        yield Losing(WSGIHandler(), our_django.manager(), str(user.pk))
        django_site().close()


def wrapped_django() -> Iterator[Losing]:
    user = django_project.make_user(USER)
    middlewares = [OURS if each == django_project.DJANGOS else each for each in settings.MIDDLEWARE]
    with override_settings(
        WSGI_SESSIONS_URL="memory://", ROOT_URLCONF=urls(), MIDDLEWARE=middlewares
    ):
        stack = our_django.wrap(WSGIHandler())
        yield Losing(stack, stack.manager, str(user.pk))
        django_site().close()


def pyramid() -> Iterator[Losing]:
    config = pyramid_project.configured(principal_key="user")

    def enter(request: Any) -> Response:
        request.session["user"] = USER
        return Response("")

    def leave(request: Any) -> Response:
        request.session.invalidate()
        return Response("")

    def why(request: Any) -> Response:
        return Response(f"[{request.session.lost}]")

    for name, view in (("in", enter), ("out", leave), ("why", why)):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    yield Losing(config.make_wsgi_app(), our_pyramid.manager(config.registry))
    our_pyramid.include.served_in(config.registry).close()


FRAMEWORKS = (plain, flask, django, wrapped_django, pyramid)


@pytest.fixture(params=FRAMEWORKS, ids=lambda framework: framework.__name__)
def losing(request: pytest.FixtureRequest) -> Iterator[Losing]:
    yield from request.param()


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    moved = MovedClock()
    yield moved
    moved.restore()


def log_out(losing: Losing, browser: Browser, _clock: MovedClock) -> None:
    """In another tab: this one has the cookie that it had."""
    tab = Browser(losing.app)
    tab.cookies.update(browser.cookies)
    tab.get("/out")


def revoke(losing: Losing, _browser: Browser, _clock: MovedClock) -> None:
    assert losing.manager.destroy_sessions_of(losing.user) == 1


def wait(_losing: Losing, _browser: Browser, clock: MovedClock) -> None:
    clock.advance(15 * 24 * 3600.0)


ENDS: dict[str, Callable[[Losing, Browser, MovedClock], None]] = {
    "logged-out": log_out,
    "revoked": revoke,
    "expired-idle": wait,
}


@pytest.mark.parametrize("why", ENDS)
def test_the_application_learns_why(losing: Losing, clock: MovedClock, why: str) -> None:
    browser = Browser(losing.app)
    browser.get("/in", QUERY_STRING=f"name={USER}")
    cookies = dict(browser.cookies)
    assert browser.get("/why").body == b"[None]"
    ENDS[why](losing, browser, clock)
    browser.cookies = cookies
    reply = browser.get("/why")
    assert reply.body == f"[{why}]".encode()
    assert reply.header("Vary") == "Cookie", "no cache may tell it to others"
    assert browser.get("/why").body == b"[None]", "the cookie is deleted by the page that told it"


def test_a_stranger_has_lost_nothing(losing: Losing) -> None:
    reply = Browser(losing.app).get("/why")
    assert (reply.body, reply.header("Vary")) == (b"[None]", "Cookie")


def test_a_django_view_that_asks_depends_on_the_cookie() -> None:
    """A template looks for a key of that name first, which is an access of its own."""
    with override_settings(WSGI_SESSIONS_URL="memory://", ROOT_URLCONF=urls()):
        assert Browser(WSGIHandler()).get("/said").header("Vary") == "Cookie"
        django_site().close()


def test_a_key_of_the_application_hides_it_in_flask() -> None:
    app = flask_.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://")
    sessions = our_flask.WSGISessions(app)

    @app.get("/")
    def page() -> str:
        flask_.session["lost"] = "a suitcase"
        return flask_.render_template_string("{{ session.lost }}")

    assert app.test_client().get("/").text == "a suitcase"
    sessions.close(app)
