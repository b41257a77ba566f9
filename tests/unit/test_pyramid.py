"""Pyramid: its ISession, its tweens and retries, over sessions of this package."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pyramid.authentication import SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPFound
from pyramid.interfaces import ISession
from pyramid.request import Request
from pyramid.response import Response
from pyramid_retry import RetryableException
from wsgi_client import Browser
from zope.interface.verify import verifyObject

from wsgi_sessions import Config, StoreUnavailable, build
from wsgi_sessions.contrib.pyramid import PyramidSession, manager
from wsgi_sessions.contrib.pyramid.include import served_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    View = Callable[[Any], Any]

SECRET = "s" * 40
HELPER = SessionAuthenticationHelper()


class PyramidSite:
    """A Pyramid application with views by name."""

    def __init__(self, folder: Path, *, around: bool = False, **settings: str) -> None:
        self.settings = {
            "wsgi_sessions.url": f"file://{folder}/sessions",
            "wsgi_sessions.secret_keys": SECRET,
            "wsgi_sessions.sweep_interval": "off",
            "wsgi_sessions.application": "site",
            "wsgi_sessions.principal_key": "auth.userid",  # the default, if it is included
            **settings,
        }
        self._around = around
        self._views: dict[str, View] = {}
        self._exception_views: dict[type[Exception], View] = {}
        self.app: Any = None
        self.registry: Any = None

    def view(self, function: View) -> View:
        self._views[function.__name__] = function
        return function

    def exception_view(self, context: type[Exception], function: View) -> None:
        self._exception_views[context] = function

    def browser(self) -> Browser:
        with Configurator(settings=self.settings) as config:
            config.include("wsgi_sessions.contrib.pyramid")
            config.include("pyramid_retry")
            for name, function in self._views.items():
                config.add_route(name, f"/{name}")
                config.add_view(_answering(function), route_name=name)
            for context, function in self._exception_views.items():
                config.add_exception_view(_with_error(function), context=context)
            self.registry = config.registry
            self.app = config.make_wsgi_app()
        if self._around:
            names = {
                f"WSGI_SESSIONS_{name.partition('.')[2].upper()}": value
                for name, value in self.settings.items()
                if name.startswith("wsgi_sessions.")
            }
            self.app = build(self.app, Config.from_environ(names))
        return Browser(self.app)

    def close(self) -> None:
        if self._around:
            self.app.close()
        if self.registry is not None:
            served_in(self.registry).close()


def _answering(function: View) -> View:
    def view(request: Any) -> Any:
        found = function(request)
        return found if isinstance(found, Response) else Response(json_body=found)

    return view


def _with_error(function: View) -> Any:
    def view(_error: Exception, request: Any) -> Any:
        return function(request)

    return view


@pytest.fixture(params=[False, True], ids=["included", "around"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PyramidSite]:
    """By its own tween, and inside of a stack."""
    made = PyramidSite(tmp_path, around=request.param)
    made.view(show)
    made.view(put)
    with closing(made):
        yield made


def show(request: Any) -> Any:
    return dict(request.session.items())


def put(request: Any) -> Any:
    request.session.update(request.params)
    return dict(request.session.items())


def shown(browser: Browser) -> Any:
    return json.loads(browser.get("/show").body)


# -- the session -----------------------------------------------------------------------------------


def test_it_has_a_label_and_a_key(site: PyramidSite) -> None:
    @site.view
    def enter(request: Any) -> Any:
        request.session["auth.userid"] = "alice"
        request.session.label = "Ann's phone"
        return None

    @site.view
    def check(request: Any) -> Any:
        return [request.session.label, request.session.key]

    browser = site.browser()
    browser.get("/enter")
    label, key = json.loads(browser.get("/check").body)
    assert label == "Ann's phone"
    assert len(key) == 64


def test_it_is_a_session_as_pyramid_has_it(site: PyramidSite) -> None:
    @site.view
    def check(request: Any) -> Any:
        assert verifyObject(ISession, request.session)
        assert isinstance(request.session, PyramidSession)
        return [request.session.new, type(request.session.created).__name__]

    browser = site.browser()
    assert json.loads(browser.get("/check").body) == [True, "int"]
    assert browser.cookies == {}
    browser.get("/put", QUERY_STRING="a=1")
    assert json.loads(browser.get("/check").body) == [False, "int"]
    assert shown(browser) == {"a": "1"}


def test_a_dictionary_s_methods_are_there(site: PyramidSite) -> None:
    @site.view
    def use(request: Any) -> Any:
        session = request.session
        session["a"] = {"n": 1}
        session.setdefault("b", []).append("x")
        session["a"]["n"] = 2
        session.changed()
        session.increment("c")
        session.append("d", "y")
        assert session.pop("absent", None) is None
        assert "b" in session
        assert len(session) == 4
        return sorted(session.keys())

    browser = site.browser()
    assert json.loads(browser.get("/use").body) == ["a", "b", "c", "d"]
    assert shown(browser) == {"a": {"n": 2}, "b": ["x"], "c": 1, "d": ["y"]}


def test_an_invalidated_session_is_dead(site: PyramidSite) -> None:
    @site.view
    def leave(request: Any) -> Any:
        request.session.invalidate()
        return dict(request.session)

    @site.view
    def renew(request: Any) -> Any:
        request.session.invalidate()
        request.session["b"] = 2
        return {}

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    thief = Browser(site.app)
    thief.cookies = dict(browser.cookies)
    browser.get("/renew")
    assert shown(browser) == {"b": 2}
    assert shown(thief) == {}
    browser.get("/leave")
    assert browser.cookies == {}


def test_a_log_in_gives_a_new_id_and_a_principal(site: PyramidSite) -> None:
    @site.view
    def enter(request: Any) -> Any:
        HELPER.remember(request, "alice")
        return HTTPFound("/show")

    @site.view
    def leave(request: Any) -> Any:
        HELPER.forget(request)
        return {}

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    before = dict(browser.cookies)
    browser.get("/enter")
    assert browser.cookies != before
    assert shown(browser) == {"a": "1", "auth.userid": "alice"}
    assert len(manager(site.registry).sessions_of("alice")) == 1
    late = Browser(site.app)
    late.cookies = before
    assert shown(late) == {}
    browser.get("/leave")
    assert shown(browser) == {}


def test_flashes_are_shown_once_in_order(site: PyramidSite) -> None:
    @site.view
    def flash(request: Any) -> Any:
        request.session.flash("one")
        request.session.flash("two", queue="other")
        request.session.flash("three")
        request.session.flash("three", allow_duplicate=False)
        return request.session.peek_flash()

    @site.view
    def pop(request: Any) -> Any:
        return [request.session.pop_flash(), request.session.pop_flash("other")]

    browser = site.browser()
    assert json.loads(browser.get("/flash").body) == ["one", "three"]
    assert json.loads(browser.get("/pop").body) == [["one", "three"], ["two"]]
    assert json.loads(browser.get("/pop").body) == [[], []]


def test_a_flash_that_comes_while_others_are_shown_is_shown_next(site: PyramidSite) -> None:
    @site.view
    def flash(request: Any) -> Any:
        request.session.flash(request.params["text"])
        return {}

    @site.view
    def pop(request: Any) -> Any:
        shown = request.session.pop_flash()
        if "meanwhile" in request.params:
            other.get("/flash", QUERY_STRING="text=new")
        return shown

    browser = site.browser()
    browser.get("/flash", QUERY_STRING="text=old")
    other = Browser(site.app)
    other.cookies = dict(browser.cookies)
    assert json.loads(browser.get("/pop", QUERY_STRING="meanwhile=1").body) == ["old"]
    assert json.loads(browser.get("/pop").body) == ["new"]


def test_csrf_tokens_are_the_sessions(site: PyramidSite) -> None:
    @site.view
    def token(request: Any) -> Any:
        assert get_csrf_token(request) == request.session.get_csrf_token()
        return get_csrf_token(request)

    @site.view
    def renew(request: Any) -> Any:
        return request.session.new_csrf_token()

    browser = site.browser()
    first = json.loads(browser.get("/token").body)
    assert json.loads(browser.get("/token").body) == first
    assert json.loads(browser.get("/renew").body) != first


# -- what is stored, and when ----------------------------------------------------------------------


class _Failed(Exception):
    """What a view raises."""


def test_an_exception_and_a_500_store_nothing(site: PyramidSite) -> None:
    @site.view
    def fail(request: Any) -> Any:
        request.session["failed"] = True
        raise _Failed

    @site.view
    def answer_500(request: Any) -> Any:
        request.session["failed"] = True
        return Response(status=500)

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    with pytest.raises(_Failed):
        browser.get("/fail")
    assert browser.get("/answer_500").status == 500
    assert shown(browser) == {"a": "1"}


def test_a_redirect_that_is_raised_stores_what_was_changed(site: PyramidSite) -> None:
    @site.view
    def go(request: Any) -> Any:
        request.session["gone"] = True
        raise HTTPFound("/show")

    browser = site.browser()
    assert browser.get("/go").status == 302
    assert shown(browser) == {"gone": True}


@pytest.mark.parametrize("has_view", [False, True])
def test_each_attempt_starts_from_the_beginning(site: PyramidSite, has_view: bool) -> None:
    """Where an exception view has answered the attempt, too."""

    @site.view
    def work(request: Any) -> Any:
        session = request.session
        session["n"] = session.get("n", 0) + 1
        session.append("attempts", request.environ["retry.attempt"])
        if request.environ["retry.attempt"] < 2:
            raise RetryableException
        return session["n"]

    if has_view:
        site.exception_view(RetryableException, lambda request: Response("again", status=409))
    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    assert json.loads(browser.get("/work").body) == 1
    assert shown(browser) == {"a": "1", "n": 1, "attempts": [2]}


def test_what_a_stream_changes_is_stored_at_its_end(site: PyramidSite) -> None:
    @site.view
    def stream(request: Any) -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"begun"
            request.session["streamed"] = True
            yield b", and ended"

        return Response(app_iter=chunks())

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    assert browser.get("/stream").body == b"begun, and ended"
    assert shown(browser) == {"a": "1", "streamed": True}


def test_a_stream_that_fails_stores_nothing_of_its_end(site: PyramidSite) -> None:
    @site.view
    def stream(request: Any) -> Any:
        def chunks() -> Iterator[bytes]:
            yield b"begun"
            request.session["streamed"] = True
            raise _Failed

        return Response(app_iter=chunks())

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    with pytest.raises(_Failed):
        browser.get("/stream")
    assert shown(browser) == {"a": "1"}


def test_a_page_that_does_not_look_reads_nothing(
    site: PyramidSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    @site.view
    def nothing(request: Any) -> Any:
        return {}

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    monkeypatch.setattr("wsgi_sessions.core.transaction.Transaction._load", None)
    assert browser.get("/nothing").status == 200


def test_a_store_that_does_not_answer_is_a_503(
    site: PyramidSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    before = dict(browser.cookies)
    break_store(monkeypatch)
    response = browser.get("/show")
    assert response.status == 503
    assert response.header("Retry-After") == "1"
    assert browser.cookies == before


def test_an_exception_view_answers_an_outage(
    site: PyramidSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.exception_view(StoreUnavailable, lambda request: Response("own page", status=503))
    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    break_store(monkeypatch)
    assert browser.get("/show").body == b"own page"


def break_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is down", operation="load")

    monkeypatch.setattr("wsgi_sessions.core.loading.Loader.open", fail)


def test_a_subrequest_has_a_session(site: PyramidSite) -> None:
    @site.view
    def outer(request: Any) -> Any:
        inner = Request.blank("/put?b=2")
        inner.headers["Cookie"] = request.headers["Cookie"]
        return request.invoke_subrequest(inner)

    browser = site.browser()
    browser.get("/put", QUERY_STRING="a=1")
    assert json.loads(browser.get("/outer").body) == {"a": "1", "b": "2"}
    assert shown(browser) == {"a": "1", "b": "2"}


def test_the_included_one_has_defaults_of_its_own(tmp_path: Path) -> None:
    with Configurator(settings={"wsgi_sessions.url": f"file://{tmp_path}"}) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        found = served_in(config.registry).config()
    assert found.principal_key == "auth.userid"
    assert found.application is not None
    assert found.url == f"file://{tmp_path}"
