"""A Django site with this package's middleware, messages, checks and command."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import django_project
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.messages import constants
from django.contrib.messages.storage.session import SessionStorage
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.checks import run_checks
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import models
from django.http import HttpResponse
from django.test import (
    AsyncClient,
    Client,
    LiveServerTestCase,
    RequestFactory,
    override_settings,
)
from django.test.utils import isolate_apps
from django.utils.safestring import SafeString, mark_safe
from redis_servers import wait_until
from wsgi_client import Browser, environ_of

from wsgi_sessions.contrib.django import (
    MessageStorage,
    SessionStore,
    checks,
    end_sessions,
    manager,
    wrap,
)
from wsgi_sessions.contrib.django.site import site
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.testing import SessionClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COOKIE = "sessionid"
OURS = "wsgi_sessions.contrib.django.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
MIDDLEWARE = [OURS if each == DJANGOS else each for each in settings.MIDDLEWARE]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
PAGE = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}
MERGING = "wsgi_sessions.contrib.django.MessageStorage"


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    """Each test has a folder of its own, and our middleware."""
    url = f"file://{tmp_path}/sessions"
    with override_settings(WSGI_SESSIONS_URL=url, MIDDLEWARE=MIDDLEWARE):
        yield


@pytest.fixture
def browser() -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def wrapped() -> Iterator[Browser]:
    """A browser of the application that ``wsgi.py`` wraps."""
    stack = wrap(WSGIHandler())
    yield Browser(stack)
    site().close()


def stored(**data: Any) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def break_store(monkeypatch: pytest.MonkeyPatch, *operations: str) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is down", operation="load")

    sessions = site().sessions().manager.backend.sessions
    for operation in operations:
        monkeypatch.setattr(sessions, operation, fail)


# -- answers ---------------------------------------------------------------------------------------


def test_a_store_that_does_not_answer_is_a_503_which_keeps_the_cookie(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.get("/put?a=1")
    break_store(monkeypatch, "load")
    response = browser.get("/show")
    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert response["Cache-Control"] == "no-store"
    assert COOKIE not in response.cookies
    assert browser.get("/nothing").status_code == 200


def test_a_save_that_fails_is_a_503(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.get("/put?a=1")
    break_store(monkeypatch, "save")
    assert browser.get("/put?a=2").status_code == 503
    monkeypatch.undo()
    assert browser.get("/show").json() == {"a": "1"}


def failing_middleware(get_response: Any) -> Any:
    """One of the site, which uses the session outside of any view."""

    def middleware(request: Any) -> Any:
        request.session.get("a")
        return get_response(request)

    return middleware


def test_what_fails_outside_of_views_is_a_503_too(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.get("/put?a=1")
    break_store(monkeypatch, "load")
    with override_settings(MIDDLEWARE=[OURS, f"{__name__}.failing_middleware"]):
        response = Client(raise_request_exception=False, headers={"accept": "application/json"})
        response.cookies = browser.cookies
        answer = response.get("/show")
    assert answer.status_code == 503
    assert answer.json()["error"] == "session_unavailable"


def test_a_former_engine_that_does_not_answer_is_a_503(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"FORMER_ENGINE": DatabaseStore.__module__, "IMPORT_UNTIL": "2999-12-31"}
    monkeypatch.setattr(DatabaseStore, "load", lambda _: 1 / 0)
    with override_settings(WSGI_SESSIONS=more):
        browser.cookies[COOKIE] = "x" * 32
        response = browser.get("/show")
    assert response.status_code == 503
    assert COOKIE not in response.cookies


def test_another_engine_works_under_this_middleware(browser: Client) -> None:
    with override_settings(SESSION_ENGINE=DatabaseStore.__module__):
        browser.get("/put?a=1")
        assert browser.get("/show").json() == {"a": "1"}
        assert len(browser.cookies[COOKIE].value) == 32


def test_asynchronous_views_have_their_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def visit() -> tuple[Any, Any, int]:
        browser = AsyncClient(raise_request_exception=False)
        await browser.get("/aput?a=1")
        second = await browser.get("/aput?b=2")
        third = await browser.get("/show")
        break_store(monkeypatch, "load")
        return second.json(), third.json(), (await browser.get("/aput?c=3")).status_code

    both = {"a": "1", "b": "2"}
    assert async_to_sync(visit)() == (both, both, 503)


class LiveSite(LiveServerTestCase):  # type: ignore[misc]  # Django has no annotations
    """A server of Django's in a thread of the test."""

    def test_it_serves(self) -> None:
        """A session that the test has made is that of a browser, and the other way round."""
        key = stored(a=1)
        asked = UrlRequest(f"{self.live_server_url}/put?b=2", headers={"Cookie": f"{COOKIE}={key}"})
        with urlopen(asked) as response:
            assert json.load(response) == {"a": 1, "b": "2"}
        assert SessionStore(key).load() == {"a": 1, "b": "2"}


def handler503(request: Any, error: StoreUnavailable) -> HttpResponse:
    return HttpResponse(f"own page: {error}", status=503)


def test_the_sites_own_handler_answers(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.get("/put?a=1")
    break_store(monkeypatch, "load")
    monkeypatch.setattr(django_project, "handler503", handler503, raising=False)
    assert b"own page: the store is down" in browser.get("/show").content


def test_a_conflict_is_a_409_and_stores_nothing(browser: Client) -> None:
    with override_settings(WSGI_SESSIONS={"ON_CONFLICT": "raise"}):
        browser.get("/put?a=1")
        other = SessionStore(browser.cookies[COOKIE].value)
        other["a"] = "mine"

        def interfere(request: Any) -> None:
            assert request.session["a"] == "1"
            other.save()

        with_interference(browser, interfere)
        assert browser.get("/put?a=2").status_code == 409
        assert SessionStore(browser.cookies[COOKIE].value).load() == {"a": "mine"}


def with_interference(browser: Client, step: Any) -> None:
    """Have a step run in each request, once it has read its session."""
    browser.get("/nothing")  # the handler is made
    inner = browser.handler._view_middleware
    inner.insert(0, lambda request, *_: step(request))


def test_a_conflict_names_the_requests(browser: Client, caplog: pytest.LogCaptureFixture) -> None:
    browser.get("/put?a=1")
    other = SessionStore(browser.cookies[COOKIE].value)
    other["a"] = "mine"

    def interfere(request: Any) -> None:
        assert request.session["a"] == "1"
        other.save()

    with_interference(browser, interfere)
    browser.get("/put?a=2")
    assert "GET /put" in caplog.text


# -- one transaction with the WSGI request ---------------------------------------------------------


def test_a_wrapped_site_keeps_its_sessions(wrapped: Browser) -> None:
    django_project.make_user("alice")
    wrapped.get("/put", QUERY_STRING="a=1")
    before = wrapped.cookies[COOKIE]
    wrapped.get("/enter", QUERY_STRING="name=alice")
    assert wrapped.cookies[COOKIE] != before
    assert wrapped.get("/whoami").body == b"alice"
    assert not SessionStore().exists(before)
    response = wrapped.get("/show")
    assert json.loads(response.body)["a"] == "1"
    assert response.header("Set-Cookie") is None
    wrapped.get("/leave")
    assert COOKIE not in wrapped.cookies
    assert wrapped.get("/whoami").body == b""


def test_changes_of_a_stream_are_stored_at_its_end(wrapped: Browser) -> None:
    wrapped.get("/put", QUERY_STRING="a=1")
    assert wrapped.get("/stream").body == b"begun, and ended"
    assert json.loads(wrapped.get("/show").body) == {"a": "1", "streamed": True}


def test_a_wrapped_site_answers_health_and_outages(
    wrapped: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wrapped.get("/health/session").status == 200
    wrapped.get("/put", QUERY_STRING="a=1")
    break_store(monkeypatch, "load")
    response = wrapped.get("/show")
    assert response.status == 503
    assert response.header("Set-Cookie") is None


def test_a_page_of_a_wrapped_site_that_does_not_look_reads_nothing(
    wrapped: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped.get("/put", QUERY_STRING="a=1")
    break_store(monkeypatch, "load", "save", "touch")
    assert wrapped.get("/nothing").status == 200


def test_hooks_of_a_wrapped_site_are_called() -> None:
    names: list[str] = []
    browser = Browser(wrap(WSGIHandler(), on_event=lambda event: names.append(event.name)))
    try:
        browser.get("/put", QUERY_STRING="a=1")
    finally:
        site().close()
    assert names == ["created"]


def test_a_former_session_is_taken_over_by_a_wrapped_site() -> None:
    former = DatabaseStore()
    former["a"] = 1
    former.save()
    more = {"FORMER_ENGINE": DatabaseStore.__module__, "IMPORT_UNTIL": "2999-12-31"}
    with override_settings(WSGI_SESSIONS=more):
        browser = Browser(wrap(WSGIHandler()))
        browser.cookies[COOKIE] = former.session_key
        response = browser.get("/show")
        assert json.loads(response.body) == {"a": 1}
        assert response.header("Set-Cookie") is not None
        assert browser.cookies[COOKIE] != former.session_key
        assert json.loads(browser.get("/show").body) == {"a": 1}
        site().close()


def test_sessions_of_a_user_are_ended(browser: Client) -> None:
    user = django_project.make_user("alice")
    browser.force_login(user)
    (found,) = manager().sessions_of(str(user.pk))
    assert found.key == store_key(browser.cookies[COOKIE].value)
    assert manager().destroy_sessions_of(str(user.pk)) == 1
    assert browser.get("/whoami").content == b""


def test_a_log_in_is_labelled_by_its_browser(browser: Client) -> None:
    """In a site that is not wrapped, the middleware knows the browser."""
    django_project.make_user("alice")
    with override_settings(WSGI_SESSIONS_LABEL_DEVICES="on", MIDDLEWARE=MIDDLEWARE):
        browser.get("/enter?name=alice", HTTP_USER_AGENT=FIREFOX)
        (found,) = manager().sessions_of(browser.session["_auth_user_id"])
        assert found.label == "Firefox on Linux"
        session = SessionStore(browser.cookies[COOKIE].value)
        session.label = "Ann's phone"
        session.save()
        again = SessionStore(browser.cookies[COOKIE].value)
        assert (again.label, again.store_key) == ("Ann's phone", found.key)


def test_a_wrapped_site_labels_too() -> None:
    django_project.make_user("bob")
    with override_settings(WSGI_SESSIONS_LABEL_DEVICES="on", MIDDLEWARE=MIDDLEWARE):
        browser = Browser(wrap(WSGIHandler()))
        browser.get("/enter", QUERY_STRING="name=bob", HTTP_USER_AGENT=FIREFOX)
        (found,) = manager().sessions_of(SessionStore(browser.cookies[COOKIE])["_auth_user_id"])
        assert found.label == "Firefox on Linux"
        site().close()


def test_a_session_client_knows_a_wrapped_site() -> None:
    with SessionClient(wrap(WSGIHandler())) as client:
        with client.session() as session:
            session["a"] = "1"
        client.parallel("/put?b=2", "/put?c=3")
        assert client.get("/show").json == {"a": "1", "b": "2", "c": "3"}
        with client.fail_store():
            assert client.get("/show").status_code == 503
        client.advance(days=40)
        assert client.get("/show").json == {}
    site().close()


def test_a_wrapped_site_without_the_middleware_is_refused() -> None:
    with (
        override_settings(MIDDLEWARE=[DJANGOS]),
        pytest.raises(ConfigurationError, match="SessionMiddleware"),
    ):
        wrap(WSGIHandler())


def wrapped_with(**hooks: Any) -> Browser:
    browser = Browser(wrap(WSGIHandler(), **hooks))
    django_project.make_user("alice")
    browser.get("/enter", method="POST", QUERY_STRING="name=alice", **PAGE)
    return browser


def test_sessions_of_old_data_are_made_anew_in_a_wrapped_site() -> None:
    stamps = {"global": 1}

    class Stamps:
        def current(self, scopes: Any) -> dict[str, int]:
            return {scope: stamps[scope] for scope in scopes}

    def renew(session: Any, _environ: Any) -> dict[str, Any]:
        return {**session, "name": "new"}

    with override_settings(WSGI_SESSIONS={"VERSION_MAX_AGE": 0}):
        browser = wrapped_with(versions=Stamps(), version_refresh=renew)
        try:
            browser.get("/put", QUERY_STRING="name=old")
            assert json.loads(browser.get("/show", **PAGE).body)["name"] == "old"
            stamps["global"] = 2
            assert json.loads(browser.get("/show", **PAGE).body)["name"] == "new"
            assert browser.get("/whoami").body == b"alice"
            assert json.loads(browser.get("/show").body)["name"] == "new"
        finally:
            site().close()


def test_a_context_comes_back_in_a_wrapped_site() -> None:
    with override_settings(WSGI_SESSIONS={"CONTEXT_KEY": "deal"}):
        browser = wrapped_with(may_access=lambda *_: "allowed")
        try:
            assert browser.get("/select", QUERY_STRING="deal=7").body == b"allowed"
            browser.cookies.clear()
            browser.get("/enter", QUERY_STRING="name=alice")
            assert json.loads(browser.get("/show").body)["deal"] == "7"
        finally:
            site().close()


def test_requests_of_a_wrapped_site_hold_leases_where_somebody_refreshes() -> None:
    stack = wrap(WSGIHandler(), refresh=lambda _session: None)
    browser = Browser(stack)
    leases = stack.manager.backend.leases
    assert leases is not None
    try:
        browser.get("/put", QUERY_STRING="a=1")
        key = store_key(browser.cookies[COOKIE])

        body = stack(environ_of("/stream", cookie=f"{COOKIE}={browser.cookies[COOKIE]}"), note)
        chunks = iter(body)
        assert [next(chunks), next(chunks)] == [b"begun", b", and ended"]
        wait_until(lambda: leases.holders(key) == 1, "the lease of the first request to end")
        body.close()  # type: ignore[attr-defined]  # a stream
        wait_until(lambda: leases.holders(key) == 0, "the lease of the stream to end")
    finally:
        site().close()


def note(*_: Any) -> Any:
    """A server's start_response."""


def test_an_operator_ends_the_sessions_of_users() -> None:
    alice, root = map(django_project.make_user, ("alice", "root"))
    browsers = [Client() for _ in range(3)]
    for browser, user in zip(browsers, (alice, alice, root), strict=True):
        browser.force_login(user)
    request = RequestFactory().get("/")
    request.session = SessionStore(browsers[2].cookies[COOKIE].value)
    told: list[str] = []
    admin = SimpleNamespace(message_user=lambda _request, text: told.append(text))
    end_sessions(admin, request, [alice, root])
    assert told == ["2 sessions ended."]
    assert [browser.get("/whoami").content for browser in browsers] == [b"", b"", b"root"]


# -- messages --------------------------------------------------------------------------------------


@pytest.fixture
def merging() -> Iterator[None]:
    with override_settings(MESSAGE_STORAGE=MERGING):
        yield


def storage_of(key: str) -> Any:
    request = RequestFactory().get("/")
    request.session = SessionStore(key)
    return MessageStorage(request)


def finish(storage: Any) -> None:
    storage.update(SimpleNamespace())
    storage.request.session.save()


@pytest.mark.usefixtures("merging")
def test_messages_are_shown_once_in_order(browser: Client) -> None:
    for text in ("one", "two", "three"):
        browser.get(f"/say?text={text}")
    assert browser.get("/hear").json() == {"heard": ["one", "two", "three"]}
    assert browser.get("/hear").json() == {"heard": []}


def test_messages_of_overlapping_requests_all_stay() -> None:
    key = stored(a=1)
    storages = [storage_of(key) for _ in range(3)]
    for number, storage in enumerate(storages):
        storage.add(constants.INFO, f"message {number}")
    for storage in storages:
        finish(storage)
    assert sorted(map(str, storage_of(key))) == ["message 0", "message 1", "message 2"]


def test_a_message_that_comes_while_others_are_shown_is_shown_next() -> None:
    key = stored(a=1)
    first = storage_of(key)
    first.add(constants.INFO, "old")
    finish(first)
    showing, adding = storage_of(key), storage_of(key)
    assert [str(each) for each in showing] == ["old"]
    adding.add(constants.WARNING, mark_safe("<b>new</b>"), extra_tags="x")  # of a test
    finish(adding)
    finish(showing)
    (left,) = storage_of(key)
    assert (left.level, str(left), left.extra_tags) == (constants.WARNING, "<b>new</b>", "x")
    assert isinstance(left.message, SafeString)


def test_messages_that_djangos_own_storage_has_left_are_shown_too() -> None:
    key = stored(a=1)
    request = RequestFactory().get("/")
    request.session = SessionStore(key)
    former = SessionStorage(request)
    former.add(constants.INFO, "former")
    finish(former)
    storage = storage_of(key)
    storage.add(constants.INFO, "new")
    finish(storage)
    assert [str(each) for each in storage_of(key)] == ["former", "new"]


@pytest.mark.usefixtures("merging")
def test_a_visitor_without_messages_gets_no_session(browser: Client) -> None:
    response = browser.get("/hear")
    assert response.json() == {"heard": []}
    assert COOKIE not in response.cookies


# -- checks ----------------------------------------------------------------------------------------


def found(**more: Any) -> list[str]:
    with override_settings(**more):
        return [each.id for each in run_checks(tags=["wsgi_sessions"])]


def test_settings_that_are_right_pass() -> None:
    assert found() == []
    assert found(MIDDLEWARE=[DJANGOS]) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"WSGI_SESSIONS": {"URL": "nowhere"}, "WSGI_SESSIONS_URL": None}, "E001"),
        ({"WSGI_SESSIONS": {"FORMER_ENGINE": "wsgi_sessions.contrib.django"}}, "E002"),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, "W003"),
        ({"SESSION_SERIALIZER": "django.core.serializers.base.Serializer"}, "W004"),
        ({"MIDDLEWARE": [OURS, DJANGOS]}, "E005"),
    ],
)
def test_what_does_not_go_together_is_told(more: dict[str, Any], told: str) -> None:
    assert found(**more) == [f"wsgi_sessions.{told}"]


def test_a_column_that_is_too_short_for_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolate_apps("wsgi_sessions.contrib.django") as apps:

        class Device(models.Model):  # type: ignore[misc]  # Django has no annotations
            session_key = models.CharField(max_length=32)

            class Meta:
                app_label = "wsgi_sessions"

        monkeypatch.setattr(checks, "apps", apps)
        assert found() == ["wsgi_sessions.W006"]
        assert Device.__name__ == "Device"


# -- the command -----------------------------------------------------------------------------------


def test_the_commands_look_at_the_sites_store(capsys: pytest.CaptureFixture[str]) -> None:
    key = stored(a=1)
    call_command("wsgi_sessions", "count")
    assert "1" in capsys.readouterr().out
    call_command("wsgi_sessions", "list", "--json")
    assert store_key(key)[:10] in capsys.readouterr().out


def test_a_command_that_fails_ends_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    stored(a=1)
    with pytest.raises(SystemExit) as ended:
        call_command("wsgi_sessions", "show", "0" * 10)  # which is nobody's
    assert ended.value.code == 1
    assert "no live session" in capsys.readouterr().err
