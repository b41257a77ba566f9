"""Pyramid's sessions are sessions of this package."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
from command_line import run
from pyramid import testing
from pyramid.config import Configurator
from pyramid.events import NewRequest
from pyramid.interfaces import ISession, ISessionFactory
from pyramid.request import Request
from pyramid.response import Response as PyramidResponse
from pyramid.scripting import prepare
from pyramid_project import SETTINGS, configured, create
from pyramid_retry import RetryableException
from webtest import TestApp
from wsgi_client import Browser, Response
from zope.interface.verify import verifyClass, verifyObject

from wsgi_sessions import (
    Config,
    ConfigurationError,
    SessionConflict,
    StoreUnavailable,
    build,
    get_session,
)
from wsgi_sessions.contrib.pyramid import PyramidSession, manager
from wsgi_sessions.contrib.pyramid.include import _before_retry, served_in
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COOKIE = "session"


@pytest.fixture
def config() -> Iterator[Any]:
    """A configuration on the memory store, closed at the end."""
    made = configured()
    yield made
    served_in(made.registry).close()


@pytest.fixture
def browser(config: Any) -> Browser:
    return Browser(config.make_wsgi_app())


@pytest.fixture
def session(config: Any) -> PyramidSession:
    """A session of a request that came from nowhere, as Pyramid's own tests have it."""
    config.commit()
    made: PyramidSession = factory_of(config)(testing.DummyRequest())
    return made


def factory_of(config: Any) -> Callable[[Any], PyramidSession]:
    found: Callable[[Any], PyramidSession] = config.registry.getUtility(ISessionFactory)
    return found


def ask(browser: Browser, path: str, **more: Any) -> Response:
    path, _, query = path.partition("?")
    return browser.get(path, QUERY_STRING=query, **more)


def shown(browser: Browser) -> Any:
    return json.loads(ask(browser, "/show").body)


def break_store(config: Any, monkeypatch: pytest.MonkeyPatch, *operations: str) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is down", operation="load")

    sessions = manager(config.registry).backend.sessions
    for operation in operations:
        monkeypatch.setattr(sessions, operation, fail)


def twin_of(browser: Browser) -> Browser:
    twin = Browser(browser.app)
    twin.cookies.update(browser.cookies)
    return twin


# -- ISession: what Pyramid's own tests ask of a session ------------------------------------------


def test_it_is_what_pyramid_calls_a_session(session: PyramidSession) -> None:
    assert verifyObject(ISession, session)
    assert verifyClass(ISession, PyramidSession)


def test_it_begins_empty(session: PyramidSession) -> None:
    assert dict(session) == {}
    assert session.new
    assert isinstance(session.created, int)


@pytest.mark.parametrize("cookie", ["abc", "", "a.b", "\xff"])
def test_a_bad_cookie_is_no_session(config: Any, cookie: str) -> None:
    config.commit()
    request = testing.DummyRequest(environ={"HTTP_COOKIE": f"{COOKIE}={cookie}"})
    assert dict(factory_of(config)(request)) == {}


def test_it_is_a_mapping(session: PyramidSession) -> None:
    session.update({"a": 1, "b": [2]})
    assert session.setdefault("c", "three") == "three"
    assert session.pop("a") == 1
    assert session.pop("a", None) is None
    assert list(session.items()) == [("b", [2]), ("c", "three")]
    assert session.popitem()[0] in ("b", "c")
    assert len(session) == 1
    with pytest.raises(KeyError):
        session["a"]
    session.clear()
    assert not session


def test_subclasses_are_stored_as_what_they_equal(browser: Browser, config: Any) -> None:
    class Key(str):
        __slots__ = ()

    def view(request: Any) -> PyramidResponse:
        request.session[Key("k")] = OrderedDict(a=1)
        request.session[7] = Key("seven")
        return PyramidResponse("")

    added(config, view)
    ask(browser, "/view")
    assert shown(browser) == {"k": {"a": 1}, "7": "seven"}


def test_changed_is_not_needed(browser: Browser, config: Any) -> None:
    def view(request: Any) -> PyramidResponse:
        request.session.setdefault("cart", {"items": []})["items"].append("tea")
        assert request.session.changed() is None
        return PyramidResponse("")

    added(config, view)
    ask(browser, "/view")
    ask(browser, "/view")
    assert shown(browser) == {"cart": {"items": ["tea", "tea"]}}


def added(config: Any, view: Any) -> None:
    """Add a view to a running application."""
    config.add_view(view, name="view")
    config.commit()


def test_invalidate_leaves_nothing(session: PyramidSession) -> None:
    session["a"] = 1
    assert session.invalidate() is None  # type: ignore[func-returns-value]
    assert "a" not in session
    session["b"] = 2
    assert dict(session) == {"b": 2}


def test_messages_are_a_list_in_their_order(session: PyramidSession) -> None:
    session.flash("msg1")
    session.flash("msg2")
    session.flash("err1", "error")
    assert session["_f_"] == ["msg1", "msg2"]
    assert session.peek_flash() == ["msg1", "msg2"]
    assert dict(session) == {"_f_": ["msg1", "msg2"], "_f_error": ["err1"]}
    assert session.pop_flash() == ["msg1", "msg2"]
    assert session.get("_f_") is None
    assert "_f_" not in session
    assert len(session) == 1
    assert session.pop_flash() == session.peek_flash() == []
    assert session.pop_flash("error") == ["err1"]


@pytest.mark.parametrize("kept", [[], ["other"], ["msg1"]])
def test_a_duplicate_is_left_out_if_that_is_asked(session: PyramidSession, kept: list[str]) -> None:
    for message in kept:
        session.flash(message)
    session.flash("msg1", allow_duplicate=False)
    assert session.peek_flash() == list(dict.fromkeys([*kept, "msg1"]))
    session.flash("msg1", allow_duplicate=True)
    assert session.peek_flash().count("msg1") == 2


@pytest.mark.parametrize("queue", ["", "error"])
def test_a_queue_that_was_assigned_is_used(session: PyramidSession, queue: str) -> None:
    session[f"_f_{queue}"] = ["one", "two"]
    session.flash("three", queue)
    assert session.peek_flash(queue) == ["one", "two", "three"]
    assert session.get(f"_f_{queue}") == ["one", "two", "three"]
    assert session.pop_flash(queue) == ["one", "two", "three"]
    assert session.get(f"_f_{queue}") is None


def test_csrf_tokens(session: PyramidSession) -> None:
    first = session.get_csrf_token()
    assert first
    assert session["_csrft_"] == first == session.get_csrf_token()
    second = session.new_csrf_token()
    assert session.get_csrf_token() == second != first


def test_a_request_of_a_test_gets_its_cookie(config: Any) -> None:
    config.commit()
    request = testing.DummyRequest()
    factory_of(config)(request)["a"] = 1
    response = PyramidResponse("")
    for callback in request.response_callbacks:
        assert callback(request, response) is None
    assert COOKIE in response.headers["Set-Cookie"]
    again = Request.blank("/", headers={"Cookie": response.headers["Set-Cookie"].split(";")[0]})
    assert dict(factory_of(config)(again)) == {"a": 1}


# -- requests --------------------------------------------------------------------------------------


def test_a_session_lasts_from_request_to_request(browser: Browser) -> None:
    response = ask(browser, "/put?a=1")
    assert "HttpOnly" in (response.header("Set-Cookie") or "")
    assert response.header("Vary") == "Cookie"
    assert shown(browser) == {"a": "1"}


def test_a_page_that_does_not_look_costs_nothing(
    browser: Browser, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(browser, "/put?a=1")
    break_store(config, monkeypatch, "load", "save", "touch", "create")
    response = ask(browser, "/nothing")
    assert response.status == 200
    assert response.header("Vary") is None


def test_webtest_works(config: Any) -> None:
    app = TestApp(config.make_wsgi_app())
    app.get("/put?a=1")
    assert app.get("/show").json == {"a": "1"}


def test_the_session_is_that_of_the_environ(browser: Browser, config: Any) -> None:
    def view(request: Any) -> PyramidResponse:
        get_session(request.environ)["typed"] = True
        assert request.session["typed"]
        return PyramidResponse("")

    added(config, view)
    ask(browser, "/view")
    assert shown(browser) == {"typed": True}


def test_response_callbacks_still_change_it(browser: Browser) -> None:
    ask(browser, "/late")
    assert shown(browser) == {"late": True}


def test_a_stream_changes_it_to_its_end(browser: Browser) -> None:
    ask(browser, "/put?a=1")
    assert ask(browser, "/stream").body == b"begun, and ended"
    assert shown(browser) == {"a": "1", "streamed": True}


def test_a_500_stores_nothing(browser: Browser) -> None:
    ask(browser, "/put?a=1")
    assert ask(browser, "/fails").status == 500
    with pytest.raises(RuntimeError, match="planted"):
        ask(browser, "/fails?raised=1")
    assert shown(browser) == {"a": "1"}


def test_a_response_that_is_raised_stores_as_one_that_is_returned(browser: Browser) -> None:
    assert ask(browser, "/refuses").status == 403
    assert shown(browser) == {"refused": True}


def test_an_aborted_transaction_leaves_the_session(browser: Browser) -> None:
    ask(browser, "/put?a=1")
    assert ask(browser, "/doomed").status == 200
    assert shown(browser) == {"a": "1"}


@pytest.mark.parametrize("until", [0, 1, 2])
def test_attempts_that_failed_are_forgotten(browser: Browser, until: int) -> None:
    ask(browser, "/put?a=1")
    response = ask(browser, f"/retried?until={until}")
    assert json.loads(response.body) == {
        "a": "1",
        f"attempt {until}": True,
        "attempts": [until],
        "_f_": [f"attempt {until}"],
    }
    assert shown(browser) == json.loads(response.body)


def test_another_attempt_sees_what_others_have_stored(browser: Browser, config: Any) -> None:
    ask(browser, "/put?a=1")
    other = twin_of(browser)

    def view(request: Any) -> PyramidResponse:
        assert "a" in request.session
        if request.environ["retry.attempt"] == 0:
            ask(other, "/put?a=2")
            raise RetryableException
        return PyramidResponse(request.session["a"])

    added(config, view)
    assert ask(browser, "/view").body == b"2"


def test_the_last_attempt_may_fail_too(browser: Browser) -> None:
    ask(browser, "/put?a=1")
    with pytest.raises(RetryableException):
        ask(browser, "/retried?until=3")
    assert shown(browser) == {"a": "1"}


def test_a_subrequest_has_a_session_with_its_response(browser: Browser) -> None:
    ask(browser, "/put?a=1")
    found = json.loads(ask(browser, "/inner?path=/put%3Fb=2").body)
    assert found["status"] == "200 OK"
    assert shown(browser) == {"a": "1", "b": "2"}


def test_overlapping_messages_are_all_shown(browser: Browser, config: Any) -> None:
    ask(browser, "/say?text=first")
    other = twin_of(browser)

    def view(request: Any) -> PyramidResponse:
        heard = request.session.pop_flash()
        ask(other, "/say?text=second")
        request.session.flash("third")
        return PyramidResponse(json.dumps(heard))

    added(config, view)
    assert json.loads(ask(browser, "/view").body) == ["first"]
    heard = json.loads(ask(browser, "/hear").body)["heard"]
    assert sorted(heard) == ["second", "third"]
    assert json.loads(ask(browser, "/hear").body) == {"heard": []}


# -- log-in and log-out ----------------------------------------------------------------------------


def test_a_log_in_gives_another_id_and_binds_the_user(browser: Browser, config: Any) -> None:
    ask(browser, "/put?a=1")
    before = twin_of(browser)
    assert ask(browser, "/enter?name=alice").status == 302
    assert browser.cookies != before.cookies
    assert shown(browser) == {"a": "1", "auth.userid": "alice"}
    assert shown(before) == {}
    (one,) = manager(config.registry).sessions_of("alice")
    manager(config.registry).destroy_sessions_of("alice")
    assert shown(browser) == {}
    assert one


def test_a_log_in_drops_a_planted_csrf_token(browser: Browser, config: Any) -> None:
    def view(request: Any) -> PyramidResponse:
        return PyramidResponse(request.session.get_csrf_token())

    added(config, view)
    planted = ask(browser, "/view").body
    ask(browser, "/enter?name=alice")
    assert ask(browser, "/view").body != planted


@pytest.mark.parametrize("query", ["", "?fails=1"])
def test_a_log_out_ends_the_session(browser: Browser, config: Any, query: str) -> None:
    ask(browser, "/enter?name=alice")
    ask(browser, "/put?private=1")
    thief = twin_of(browser)
    try:
        ask(browser, f"/leave{query}")
    except RuntimeError:
        assert query
    assert shown(thief) == {}
    assert [*manager(config.registry).sessions_of("alice")] == []
    assert shown(browser) == ({} if query else {"_f_": ["logged out"]})


@pytest.mark.parametrize("way", ["clear", "invalidate"])
def test_other_ways_to_log_out(browser: Browser, config: Any, way: str) -> None:
    def view(request: Any) -> PyramidResponse:
        getattr(request.session, way)()
        return PyramidResponse("", status=500)

    added(config, view)
    ask(browser, "/enter?name=alice")
    thief = twin_of(browser)
    ask(browser, "/view")
    assert shown(thief) == {}


def test_invalidating_before_a_log_in_is_one_session(browser: Browser, config: Any) -> None:
    def view(request: Any) -> PyramidResponse:
        request.session.invalidate()
        request.session["auth.userid"] = 7
        return PyramidResponse("")

    added(config, view)
    ask(browser, "/put?a=1")
    before = twin_of(browser)
    ask(browser, "/view")
    assert shown(browser) == {"auth.userid": 7}
    assert shown(before) == {}
    assert len([*manager(config.registry).sessions_of(7)]) == 1


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_store_that_does_not_answer_is_a_503(
    browser: Browser, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(browser, "/put?a=1")
    break_store(config, monkeypatch, "load")
    response = ask(browser, "/show")
    assert response.status == 503
    assert response.header("Retry-After") == "1"
    assert response.header("Set-Cookie") is None


def test_a_catch_all_view_does_not_make_it_a_500(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.add_exception_view(lambda _error, _request: PyramidResponse("oops", status=500))
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/put?a=1")
    break_store(config, monkeypatch, "load")
    assert ask(browser, "/show").status == 503


@pytest.mark.parametrize("operation", ["load", "save"])
def test_an_exception_view_answers(
    config: Any, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def view(error: Any, request: Any) -> PyramidResponse:
        assert request.exception is error
        return PyramidResponse(f"own page: {error}", status=503)

    config.add_exception_view(view, context=StoreUnavailable)
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/put?a=1")
    break_store(config, monkeypatch, operation)
    response = ask(browser, "/put?a=2")
    assert (response.status, response.body) == (503, b"own page: the store is down")


def test_a_catch_all_view_does_not_answer_beside_a_view_for_another_error(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.add_exception_view(lambda _error, _request: PyramidResponse("oops", status=500))
    config.add_exception_view(
        lambda _error, _request: PyramidResponse("conflict"), context=SessionConflict
    )
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/put?a=1")
    break_store(config, monkeypatch, "save")
    response = ask(browser, "/put?a=2")
    assert response.status == 503
    assert response.body.startswith(b"Your session cannot be reached")


def test_a_conflict_is_a_409_that_names_the_requests(caplog: pytest.LogCaptureFixture) -> None:
    config = configured(on_conflict="raise")
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/put?a=1")
    other = twin_of(browser)

    def view(request: Any) -> PyramidResponse:
        request.session["a"] += "0"
        ask(other, "/put?a=2")
        return PyramidResponse("")

    added(config, view)
    assert ask(browser, "/view").status == 409
    assert shown(browser) == {"a": "2"}
    assert "GET /view" in caplog.text
    served_in(config.registry).close()


def test_a_conflict_may_have_a_page_of_its_own() -> None:
    config = configured(on_conflict="raise")
    config.add_exception_view(
        lambda _error, _request: PyramidResponse("changed elsewhere", status=409),
        context=SessionConflict,
    )
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/put?a=1")
    other = twin_of(browser)

    def view(request: Any) -> PyramidResponse:
        request.session["a"] += "0"
        ask(other, "/put?a=2")
        return PyramidResponse("")

    added(config, view)
    assert ask(browser, "/view").body == b"changed elsewhere"
    served_in(config.registry).close()


# -- configuration ---------------------------------------------------------------------------------


def test_settings_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_COOKIE_NAME", "outside")
    monkeypatch.setenv("WSGI_SESSIONS_KEY_PREFIX", "outside:")
    monkeypatch.setenv("SECRET_KEY", "short")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS_FILE", "/there/is/none")
    config = configured(**{"cookie_name": "inside", "cookie.path": "/app", "exclusive_wait": 3})
    found = served_in(config.registry).config()
    assert found.cookie.name == "inside"
    assert found.cookie.path == "/app"
    assert found.exclusive_wait == 3
    assert found.key_prefix == "outside:"
    assert found.principal_key == "auth.userid"
    assert found.application is not None
    assert found.application.startswith("support-pyramid-project")


def test_a_wrong_setting_is_named_as_it_was_given() -> None:
    config = configured(idle_lifetime="soon")
    with pytest.raises(ConfigurationError, match=r"^wsgi_sessions\.idle_lifetime='soon'"):
        config.make_wsgi_app()


def test_two_applications_of_one_code_do_not_share_sessions() -> None:
    names = set()
    for title in ("shop", "admin"):
        config = configured()
        config.add_settings({"title": title})
        config.make_wsgi_app()
        names.add(served_in(config.registry).config().application)
        served_in(config.registry).close()
    assert len(names) == 2


def test_hooks_are_passed_by_a_directive(config: Any) -> None:
    events: list[Any] = []
    config.add_session_hooks(on_event=events.append)
    ask(Browser(config.make_wsgi_app()), "/put?a=1")
    assert [event.name for event in events if event.name == "created"] == ["created"]
    with pytest.raises(TypeError, match="unknown hook"):
        config.add_session_hooks(on_evnt=print)


def test_health_is_answered_around_the_application(browser: Browser) -> None:
    assert ask(browser, "/health/session").status == 200


def test_another_session_factory_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    config = configured()
    config.commit()
    config.set_session_factory(lambda _request: {"own": True})
    app = config.make_wsgi_app()
    assert shown(Browser(app)) == {"own": True}
    assert "session factory of its own" in caplog.text


def test_an_application_without_is_told() -> None:
    with pytest.raises(LookupError, match=r"config\.include"):
        manager(Configurator().registry)


def test_a_script_reads_and_forgets(config: Any) -> None:
    config.make_wsgi_app()
    with prepare(registry=config.registry) as script:
        script["request"].session["a"] = 1
    assert [*manager(config.registry).backend.iteration.keys()] == []


def test_nothing_of_it_is_shown(session: PyramidSession) -> None:
    session["password"] = "secret"
    assert "secret" not in repr(session)
    assert SETTINGS["wsgi_sessions.secret_keys"] not in repr(session)


def test_a_script_ends_a_session(browser: Browser, config: Any) -> None:
    ask(browser, "/put?a=1")
    cookie = f"{COOKIE}={browser.cookies[COOKIE]}"
    request = Request.blank("/", headers={"Cookie": cookie})
    with prepare(request, config.registry) as script:
        assert script["request"].session["a"] == "1"
        script["request"].session.invalidate()
    assert shown(browser) == {}


def test_the_session_of_a_stack_around_it_is_the_only_one(tmp_path: Path) -> None:
    config = configured(url=f"file://{tmp_path}/inner")
    outer = Config(url=f"file://{tmp_path}/outer", secret_keys=("o" * 40,))
    stack = build(config.make_wsgi_app(), outer)
    browser = Browser(stack)
    ask(browser, "/put?a=1")
    assert shown(browser) == {"a": "1"}
    assert len([*stack.manager.backend.iteration.keys()]) == 1
    assert not (tmp_path / "inner").exists()
    stack.close()


def test_it_has_pyramid_make_no_events() -> None:
    """They cost each request more than its session does."""
    with Configurator(settings=SETTINGS) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.make_wsgi_app()
    assert {handler.handler for handler in config.registry.registeredHandlers()} <= {_before_retry}
    served_in(config.registry).close()
    with Configurator(settings=SETTINGS) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.add_subscriber(lambda event: None, NewRequest)
        config.make_wsgi_app()
    assert config.registry.has_listeners
    served_in(config.registry).close()


def test_a_second_application_of_a_registry_has_sessions(config: Any) -> None:
    config.make_wsgi_app()
    browser = Browser(config.make_wsgi_app())
    ask(browser, "/late")
    assert shown(browser) == {"late": True}
    assert ask(browser, "/health/session").status == 200


# -- tools -----------------------------------------------------------------------------------------


def test_the_client_for_tests_finds_its_sessions(config: Any) -> None:
    with SessionClient(config.make_wsgi_app()) as client:
        client.login("alice", n=5)
        assert client.get("/show").json == {"n": 5, "auth.userid": "alice"}
        with client.fail_store():
            assert client.get("/show").status_code == 503
        client.advance(days=40)
        assert client.get("/show").json == {}


def test_commands_find_its_store(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/sessions"
    app = create(url=url)
    ask(Browser(app), "/enter?name=alice")
    served_in(app.registry).close()
    environ = {"PYRAMID_PROJECT_URL": url}
    found = run("list", "--app", "pyramid_project:create()", "--principal", "alice", **environ)
    assert found.stdout.endswith("1 session\n"), found.output
    assert f"store: {url}" in found.stderr
