"""SessionMiddleware against PEP 3333, HTTP and the rules of cookies."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from bodies import (
    SHAPES,
    AsObject,
    as_empty_generator,
    as_file,
    as_late_generator,
    as_list,
    as_tuple,
)
from msgspec.structs import replace
from redis_servers import wait_until
from watched import SECRET, TEXT, Watched, with_pages
from wsgi_client import Browser, Response, call, environ_of

from wsgi_sessions import get_session
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.errors import (
    ConfigurationError,
    CorruptRecord,
    HeadersAlreadySent,
    SessionError,
    SessionTooLarge,
    StoreUnavailable,
    UnserializableValue,
)
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.identity import IdSigner, store_key
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Record
    from wsgi_sessions.core.events import Event

    Handler = Callable[[Any, Any], Any]


@pytest.fixture
def web() -> Watched:
    watched = Watched()
    with_pages(watched)
    return watched


# -- the basics --------------------------------------------------------------------------------


def test_a_session_lasts_from_request_to_request(web: Watched) -> None:
    browser = web.browser()
    for _ in range(3):
        browser.get("/write")
    assert browser.get("/read").body == b"3"
    assert web.browser().get("/read").body == b"None"
    assert len(web.records()) == 1


def test_store_calls_per_request(web: Watched) -> None:
    """None without the session, one to read it, one more to change it; none for a visitor."""
    browser = web.browser()
    browser.get("/write")
    for path, expected in (
        ("/untouched", {}),
        ("/read", {"load": 1}),
        ("/write", {"load": 1, "save": 1}),
    ):
        web.calls.clear()
        browser.get(path)
        assert web.calls == expected, path
    web.calls.clear()
    web.browser().get("/read")
    assert web.calls == {}


def test_visitors_who_only_read_leave_nothing(web: Watched) -> None:
    for _ in range(10_000):
        assert call(web.stack, environ_of("/read")).header("Set-Cookie") is None
    assert web.records() == []
    assert web.calls == {}


def test_the_cookie_is_set_once(web: Watched) -> None:
    browser = web.browser()
    cookie = browser.get("/write").header("Set-Cookie")
    assert cookie is not None
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert browser.get("/write").header("Set-Cookie") is None
    assert browser.get("/read").header("Set-Cookie") is None


@pytest.mark.parametrize(
    "cookie",
    [
        "session=",
        "session=x",
        "session=" + "A" * 40 + "." + "B" * 43,
        "session=" + "A" * 65536,
        '"session=',
        "session\xff",
        "\\" * 60_000,
    ],
)
def test_a_bad_cookie_costs_no_store_call(web: Watched, cookie: str) -> None:
    assert web.browser().get("/read", cookie=cookie).body == b"None"
    assert web.calls == {}


def test_a_well_signed_unknown_id_is_never_adopted(web: Watched) -> None:
    """Session fixation: what is stored goes under an id of ours."""
    planted = "A" * 40
    value = IdSigner([SECRET]).sign(planted)
    browser = web.browser()
    browser.cookies["session"] = value
    browser.get("/write")
    assert browser.cookies["session"] != value
    assert store_key(planted) not in web.records()


def test_the_first_of_two_different_valid_cookies_of_live_sessions_counts(web: Watched) -> None:
    first, second = web.browser(), web.browser()
    first.get("/write")
    second.get("/write")
    both = f"session={first.cookies['session']}; session={second.cookies['session']}"
    second.get("/write")
    assert first.get("/read", cookie=both).body == b"1"
    assert "ambiguous" in web.names()


def test_an_id_in_the_url_or_a_header_is_not_looked_at(web: Watched) -> None:
    browser = web.browser()
    browser.get("/write")
    value = browser.cookies["session"]
    stranger = web.browser()
    response = stranger.get("/read", QUERY_STRING=f"session={value}", HTTP_X_SESSION=value)
    assert response.body == b"None"


# -- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "access",
    [
        lambda session: "x" in session,
        len,
        lambda session: list(session),
        bool,
        lambda session: session == {},
        lambda session: session.get("x"),
        lambda session: session.principal,
        lambda session: session.new,
        lambda session: session.items() and None,
    ],
)
def test_any_access_varies_on_the_cookie(web: Watched, access: Any) -> None:
    web.page("/access", access)
    assert web.browser().get("/access").header("Vary") == "Cookie"
    assert web.browser().get("/untouched").header("Vary") is None


def test_vary_is_merged(web: Watched) -> None:
    @web.on("/vary")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ).get("x")
        start_response("200 OK", [("Vary", "Accept-Encoding")])
        return []

    assert web.browser().get("/vary").header("Vary") == "Accept-Encoding, Cookie"


def test_a_response_with_our_cookie_is_not_publicly_cacheable(web: Watched) -> None:
    headers = [("Cache-Control", "public, max-age=60, s-maxage=900"), ("Set-Cookie", "session=app")]
    given = [*headers]

    @web.on("/cached")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ)["x"] = 1
        start_response("200 OK", headers)
        return []

    response = web.browser().get("/cached")
    assert response.header("Cache-Control") == "private, max-age=60"
    assert response.header("Set-Cookie") != "session=app"
    assert headers == given, "the application's own list was changed"


@pytest.mark.parametrize("status", ["304 Not Modified"])
def test_no_cookie_on_a_304(web: Watched, status: str) -> None:
    web.page("/new", lambda session: session.__setitem__("n", 5), status)
    web.page("/cycle", lambda session: session.cycle_id(), status)
    web.page("/bye", lambda session: session.flush(), status)
    visitor, user = web.browser(), web.browser()
    assert visitor.get("/new").header("Set-Cookie") is None
    assert web.records() == []
    assert "dropped" in web.names()
    user.get("/write")
    assert user.get("/new").header("Set-Cookie") is None
    assert user.get("/cycle").header("Set-Cookie") is None
    assert user.get("/read").body == b"5"
    assert user.get("/bye").header("Set-Cookie") is None
    assert web.records() == []


def test_secure_follows_the_scheme_and_its_absence_is_said_once(web: Watched) -> None:
    secure = {"wsgi.url_scheme": "https"}
    assert "Secure" in (web.browser().get("/write", **secure).header("Set-Cookie") or "")
    assert "insecure" not in web.names()
    for _ in range(2):
        assert "Secure" not in (web.browser().get("/write").header("Set-Cookie") or "")
    assert web.names().count("insecure") == 1


def test_the_absence_of_secure_is_not_warned_of_if_it_was_asked_for() -> None:
    web = Watched(cookie=CookiePolicy(secure="never"))
    with_pages(web)
    assert "Secure" not in (web.browser().get("/write").header("Set-Cookie") or "")
    assert "insecure" not in web.names()


def test_a_remembered_session_has_a_cookie_that_lasts(web: Watched) -> None:
    web.page("/remember", lambda session: (session.remember(7200), session.__setitem__("n", 1)))
    web.page("/forget", lambda session: session.remember(None))
    browser = web.browser()
    assert "Max-Age=7200" in (browser.get("/remember").header("Set-Cookie") or "")
    assert "Max-Age=7200" in (browser.get("/write").header("Set-Cookie") or "")
    assert browser.get("/read").header("Set-Cookie") is None
    (key,) = web.records()
    web.rewrite(key, expires_at=time.time() + 5000)
    assert "Max-Age=7200" in (browser.get("/read").header("Set-Cookie") or ""), "touched"
    assert "Max-Age" not in (browser.get("/forget").header("Set-Cookie") or "Max-Age")
    assert browser.get("/write").header("Set-Cookie") is None
    assert "Max-Age=7200" in (browser.get("/remember").header("Set-Cookie") or ""), "stored before"


def test_a_cookie_of_an_older_secret_is_renewed_and_of_a_retired_one_refused(
    tmp_path: Path,
) -> None:
    old, new = "o" * 40, "n" * 40
    url = f"file://{tmp_path}/sessions"
    first = Watched(url=url, secret_keys=(old,))
    with_pages(first)
    browser = first.browser()
    browser.get("/write")
    second = Watched(url=url, secret_keys=(old, new))
    with_pages(second)
    browser.app = second.stack
    before = browser.cookies["session"]
    assert browser.get("/untouched").header("Set-Cookie") is None
    assert browser.get("/read").body == b"1"
    assert browser.cookies["session"] != before
    third = Watched(url=url, secret_keys=(new,))
    with_pages(third)
    assert Browser(third.stack).get("/read", cookie=f"session={before}").body == b"None"
    browser.app = third.stack
    assert browser.get("/read").body == b"1"


# -- log-in and log-out ------------------------------------------------------------------------


def test_a_login_gives_a_new_id_and_the_old_one_dies(web: Watched) -> None:
    browser = web.browser()
    browser.get("/write")
    before = browser.cookies["session"]
    browser.get("/login")
    assert browser.cookies["session"] != before
    assert browser.get("/read").body == b"1"
    assert web.browser().get("/read", cookie=f"session={before}").body == b"None"
    assert len(web.records()) == 1


def test_a_logout_deletes_record_and_cookie_and_a_replay_is_anonymous(web: Watched) -> None:
    browser = web.browser()
    browser.get("/login")
    before = browser.cookies["session"]
    response = browser.get("/logout")
    assert "Max-Age=0" in (response.header("Set-Cookie") or "")
    assert web.records() == []
    assert web.browser().get("/show", cookie=f"session={before}").body == b"{}"
    assert web.stack.manager.sessions_of("alice") == []


def test_a_logout_deletes_the_cookie_of_a_session_that_is_gone_too(web: Watched) -> None:
    browser = web.browser()
    browser.get("/login")
    (key,) = web.records()
    web.stack.manager.destroy(key)
    assert "Max-Age=0" in (browser.get("/logout").header("Set-Cookie") or "")
    assert web.browser().get("/logout").header("Set-Cookie") is None


def test_data_stored_after_a_logout_begins_a_new_session(web: Watched) -> None:
    web.page("/bye", lambda session: (session.flush(), session.__setitem__("flash", "bye")))
    browser = web.browser()
    browser.get("/login")
    before = browser.cookies["session"]
    browser.get("/bye")
    assert browser.cookies["session"] != before
    assert browser.get("/show").body == b"{'flash': 'bye'}"
    assert len(web.records()) == 1


@pytest.mark.parametrize("how", ["500", "raises", "generator raises"])
def test_a_failed_response_commits_nothing_but_a_logout(web: Watched, how: str) -> None:
    def fail(action: Any) -> Handler:
        def handler(environ: Any, start_response: Any) -> Any:
            action(get_session(environ))
            if how == "raises":
                raise ZeroDivisionError
            start_response("500 Internal Server Error" if how == "500" else "200 OK", [*TEXT])
            return generator() if how == "generator raises" else [b"failed"]

        def generator() -> Iterator[bytes]:
            yield str(1 // 0).encode()

        return handler

    def attempt(path: str) -> Response | None:
        try:
            return browser.get(path)
        except ZeroDivisionError:
            assert how != "500"
            return None

    web.on("/fail")(fail(lambda session: session.__setitem__("n", 99)))
    web.on("/fail-logout")(fail(lambda session: (session.__setitem__("n", 99), session.flush())))
    browser = web.browser()
    browser.get("/write")
    attempt("/fail")
    assert browser.get("/read").body == b"1"
    response = attempt("/fail-logout")
    assert web.records() == []
    if response is not None:
        assert "Max-Age=0" in (response.header("Set-Cookie") or "")


def test_a_failed_response_commits_nothing_that_comes_later_either(web: Watched) -> None:
    @web.on("/fail")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ)["n"] = 5
        start_response("500 Internal Server Error", [*TEXT])
        yield b"failed"
        get_session(environ)["n"] = 6

    browser = web.browser()
    browser.get("/write")
    assert browser.get("/fail").body == b"failed"
    assert browser.get("/read").body == b"1"


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "422 Unprocessable Content"])
def test_a_response_below_500_commits(web: Watched, status: str) -> None:
    web.page("/status", lambda session: session.__setitem__("n", 5), status)
    browser = web.browser()
    browser.get("/status")
    assert browser.get("/read").body == b"5"


@pytest.mark.parametrize("is_remembered", [False, True])
def test_a_late_save_never_brings_a_session_back(web: Watched, is_remembered: bool) -> None:
    web.page("/remember", lambda session: session.remember(7200))
    browser = web.browser()
    browser.get("/login")
    if is_remembered:
        browser.get("/remember")

    @web.on("/slow")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["n"] = 1
        browser.get("/logout")  # another request of the same browser meanwhile
        start_response("200 OK", [*TEXT])
        return [b"done"]

    cookie = f"session={browser.cookies['session']}"
    response = web.browser().get("/slow", cookie=cookie)
    assert response.status == 200
    assert response.header("Set-Cookie") is None
    assert web.records() == []
    assert "gone" in web.names()
    assert web.browser().get("/show", cookie=cookie).body == b"{}"


def test_a_principal_key_logs_in_without_changing_routes() -> None:
    web = Watched(principal_key="user_id")
    with_pages(web)
    web.page("/in", lambda session: session.__setitem__("user_id", 5))
    web.page("/switch", lambda session: session.__setitem__("user_id", 6))
    web.page("/out", lambda session: session.pop("user_id"))
    browser = web.browser()
    browser.get("/write")
    seen = [browser.cookies["session"]]
    # What the visitor had stays through the log-in, but goes when somebody else logs in.
    for path, principal, kept in (
        ("/in", 5, b"1"),
        ("/switch", 6, b"None"),
        ("/out", None, b"None"),
    ):
        browser.get(path)
        assert browser.get("/read").body == kept, path
        assert browser.cookies["session"] not in seen, path
        assert web.browser().get("/show", cookie=f"session={seen[-1]}").body == b"{}"
        seen.append(browser.cookies["session"])
        for user in (5, 6):
            assert len(web.stack.manager.sessions_of(user)) == (user == principal)
    same = browser.cookies["session"]
    browser.get("/write")
    assert browser.cookies["session"] == same


def test_a_login_as_another_user_leaves_nothing_of_the_first(web: Watched) -> None:
    web.page("/login-bob", lambda session: session.login("bob"))
    browser = web.browser()
    browser.get("/login")
    browser.get("/write")
    browser.get("/login-bob")
    assert browser.get("/show").body == b"{}"
    assert len(web.records()) == 1


# -- faults ------------------------------------------------------------------------------------


def unavailable() -> StoreUnavailable:
    return StoreUnavailable("down for the test", operation="load")


def test_a_store_that_is_down(web: Watched) -> None:
    browser = web.browser()
    browser.get("/write")
    web.fault = unavailable()
    response = browser.get("/read")
    assert response.status == 503
    assert response.header("Retry-After") is not None
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Set-Cookie") is None
    assert browser.get("/untouched").status == 200
    assert web.browser().get("/read").body == b"None", "no cookie: anonymous, no store call"
    assert web.browser().get("/write").status == 503, "and nothing can be stored"
    assert browser.get("/logout").status == 503
    head = browser.get("/read", method="HEAD")
    assert (head.status, head.body) == (503, b"")
    web.fault = None
    assert browser.get("/read").body == b"1"


@pytest.mark.parametrize("how", ["500", "swallows", "generator"])
def test_a_fault_that_the_framework_catches(web: Watched, how: str) -> None:
    """A framework's own error page becomes the 503; what an application handles is its own."""

    @web.on("/framework")
    def _(environ: Any, start_response: Any) -> Any:
        def generator() -> Iterator[bytes]:
            yield str(get_session(environ).get("n")).encode()

        if how == "generator":
            start_response("200 OK", [*TEXT])
            return generator()
        try:
            get_session(environ).get("n")
        except StoreUnavailable:
            status = "500 Oops" if how == "500" else "200 OK"
        start_response(status, [*TEXT])
        return [b"fallback"]

    browser = web.browser()
    browser.get("/write")
    web.fault = unavailable()
    response = browser.get("/framework")
    if how == "swallows":
        assert (response.status, response.body) == (200, b"fallback")
    else:
        assert_refused(response, 503)


def assert_refused(response: Response, status: int) -> None:
    """It is the middleware's own answer, whole, and nothing of the application's."""
    assert response.status == status
    assert b"again" in response.body
    assert response.header("Content-Length") == str(len(response.body))
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Set-Cookie") is None


@pytest.mark.parametrize(
    "shape",
    ["list", "tuple", "generator", "write", "write and list", "write and generator", "file"],
)
def test_a_refused_response_is_sent_once_whatever_the_application_sends(
    web: Watched, shape: str
) -> None:
    """The store fails at the commit, and the application goes on sending."""
    file = io.BytesIO(b"three")

    @web.on("/send")
    def _(environ: Any, start_response: Any) -> Any:
        get_session(environ)["n"] = 5
        web.fault = unavailable()
        write = start_response("200 OK", [*TEXT])
        if "write" in shape:
            write(b"one")
            write(b"two")
        bodies: dict[str, Any] = {
            "list": [b"three", b"four"],
            "tuple": (b"three", b"four"),
            "write": [],
            "file": FileWrapper(file),
        }
        last = shape.split()[-1]
        return bodies[last] if last in bodies else iter([b"three", b"four"])

    browser = web.browser()
    browser.get("/write")
    assert_refused(browser.get("/send"), 503)
    assert file.closed == (shape == "file")
    assert web.calls["save"] == 1, "and not tried again at the end"
    web.fault = None
    assert browser.get("/read").body == b"1"


def test_a_body_is_closed_if_the_commit_raises(web: Watched) -> None:
    file = io.BytesIO(b"three")

    @web.on("/big")
    def _(environ: Any, start_response: Any) -> Any:
        get_session(environ)["big"] = "x" * 2_000_000
        start_response("200 OK", [*TEXT])
        return FileWrapper(file)

    with pytest.raises(SessionTooLarge):
        web.browser().get("/big")
    assert file.closed


def test_the_applications_own_exception_is_the_one_that_is_raised(web: Watched) -> None:
    """Although its log-out could not take place either."""

    @web.on("/fail")
    def _(environ: Any, start_response: Any) -> Any:
        get_session(environ).flush()
        web.fault = unavailable()
        raise ZeroDivisionError

    browser = web.browser()
    browser.get("/write")
    with pytest.raises(ZeroDivisionError):
        browser.get("/fail")


def quarantined(web: Watched) -> Any:
    quarantine = web.stack.manager.backend.quarantine
    return quarantine and quarantine.quarantined()


def test_a_damaged_record_is_set_aside_and_the_visitor_is_anonymous(web: Watched) -> None:
    browser = web.browser()
    browser.get("/write")
    (key,) = web.records()
    web.rewrite(key, payload=b"\x01garbage")
    assert browser.get("/read").body == b"None"
    assert quarantined(web) == 1
    assert "corrupt" in web.names()


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session["bad"],
        lambda session: dict(session),
        lambda session: session.increment("bad"),
        lambda session: session.append("bad", 1),
    ],
)
@pytest.mark.parametrize("framework", ["raises", "answers 500"])
def test_a_damaged_value_is_a_503_once(web: Watched, use: Any, framework: str) -> None:
    web.page("/bad", lambda session: session.__setitem__("bad", 1))

    @web.on("/get-bad")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        try:
            use(get_session(environ))
        except CorruptRecord:
            if framework == "raises":
                raise
        start_response("500 Oops", [*TEXT])
        return [b"oops"]

    browser = web.browser()
    browser.get("/bad")
    (key,) = web.records()
    record = web.stack.manager.backend.sessions.load(key)
    assert record is not None
    web.rewrite(key, payload=_with_value(record, key, b"\xc7\x03\x0babc").payload)
    assert_refused(browser.get("/get-bad"), 503)
    assert browser.get("/show").body == b"{}"
    assert quarantined(web) == 1
    assert web.names().count("corrupt") == 1


def _with_value(record: Record, key: str, value: bytes) -> Record:
    from msgspec import Raw

    from wsgi_sessions.core.record.envelope import open_sealed, seal

    envelope = open_sealed(record.payload, key)
    envelope.data["bad"] = Raw(value)
    return replace(record, payload=seal(envelope, key))


class HeaderText(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda session: session.__setitem__("cart", [{"price": object()}]), UnserializableValue),
        (lambda session: session.__setitem__(5, 1), UnserializableValue),
        (lambda session: session.__setitem__("\ud800", 1), UnserializableValue),
        (lambda session: session.__setitem__("big", "x" * 2_000_000), SessionTooLarge),
        (lambda session: session.increment(5), UnserializableValue),
        (lambda session: session.append(5, 1), UnserializableValue),
        (lambda session: session.__setitem__(HeaderText("n"), 1), UnserializableValue),
        (lambda session: session.login(""), UnserializableValue),
        (lambda session: session.login(True), UnserializableValue),
        (lambda session: session.remember(-1), ValueError),
        (lambda session: session.increment("n", by="1"), Exception),
    ],
)
def test_a_value_that_cannot_be_kept_leaves_the_record_intact(
    web: Watched, action: Any, error: type[Exception]
) -> None:
    web.page("/bad", action)
    browser = web.browser()
    browser.get("/write")
    with pytest.raises(error):
        browser.get("/bad")
    assert browser.get("/read").body == b"1"


def test_on_conflict_raise_answers_409() -> None:
    web = Watched(on_conflict="raise")
    with_pages(web)
    browser = web.browser()
    browser.get("/write")

    @web.on("/conflict")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["n"] = session["n"] + 10
        browser.get("/write")
        start_response("200 OK", [*TEXT])
        return [b"done"]

    response = browser.get("/conflict")
    assert response.status == 409
    assert response.header("Cache-Control") == "no-store"
    assert browser.get("/read").body == b"2"
    conflicts = [event for event in web.events if event.name == "conflict"]
    assert [event.facts["path"] for event in conflicts] == ["n"]
    assert "unavailable" not in web.names()
    assert conflicts[0].facts["route"] == "GET /conflict"
    assert conflicts[0].facts["others"] == ["GET /write"]


@pytest.mark.parametrize("where", ["generator", "exclusive"])
def test_a_conflict_is_a_409_wherever_it_is_met(where: str) -> None:
    web = Watched(on_conflict="raise")
    with_pages(web)
    browser = web.browser()
    browser.get("/write")

    @web.on("/conflict")
    def _(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        session["n"] = session["n"] + 10
        browser.get("/write")
        start_response("200 OK", [*TEXT])
        if where == "exclusive":
            with session.exclusive():
                pytest.fail("entered")
        return iter([b"one", b"two"])

    assert_refused(browser.get("/conflict"), 409)
    assert browser.get("/read").body == b"2"
    assert web.names().count("conflict") == 1, "and not tried again at the end"


@pytest.mark.parametrize("end", ["409", "500", "raise"])
@pytest.mark.parametrize("step", ["exclusive", "commit"])
def test_only_the_completed_steps_of_a_failed_request_are_stored(step: str, end: str) -> None:
    web = Watched(on_conflict="raise")
    with_pages(web)
    browser = web.browser()
    browser.get("/write")

    @web.on("/fail")
    def _(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        with session.exclusive() if step == "exclusive" else nullcontext():
            session["completed"] = True
        if step == "commit":
            session.commit()
        session["beside"] = 1
        session.append("list beside", 2)
        if end == "409":
            session["n"] = session["n"] + 10
            browser.get("/write")
        if end == "raise":
            raise ValueError("a fault of the application")
        start_response("500 Oops" if end == "500" else "200 OK", [*TEXT])
        return [b"done"]

    if end == "raise":
        with pytest.raises(ValueError, match="a fault of the application"):
            browser.get("/fail")
    else:
        response = browser.get("/fail")
        assert response.status == int(end)
        assert end == "500" or b"except for steps that it had completed" in response.body

    seen: dict[str, Any] = {}
    web.page("/see", lambda session: seen.update(session))
    browser.get("/see")
    assert seen == {"n": 2 if end == "409" else 1, "completed": True}


def test_a_route_in_an_event_is_short_and_without_query(web: Watched) -> None:
    both = "; ".join(f"session={web_cookie(web)}" for _ in range(2))
    web.page("/" + "x" * 500, lambda session: session.get("n"))
    web.browser().get("/" + "x" * 500, cookie=both, QUERY_STRING="token=secret")
    (event,) = [event for event in web.events if event.name == "ambiguous"]
    route = str(event.facts["route"])
    assert route.startswith("GET /xxx")
    assert len(route) <= 60
    assert "secret" not in str(event)


def web_cookie(web: Watched) -> str:
    browser = web.browser()
    browser.get("/write")
    return browser.cookies["session"]


def test_an_event_hook_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    web = Watched()
    with_pages(web)

    def hook(event: Event) -> None:
        raise ZeroDivisionError

    web.hook = hook
    browser = web.browser()
    browser.get("/login")
    browser.get("/logout")
    assert web.records() == []
    assert "hook raised" in caplog.text


def test_no_id_no_key_and_no_value_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    web = Watched()
    with_pages(web)
    web.page("/secret", lambda session: session.__setitem__("card", "4111-1111"))
    browser = web.browser()
    browser.get("/secret")
    value = browser.cookies["session"]
    (key,) = web.records()
    browser.get("/login")
    (other,) = web.records()
    web.fault = unavailable()
    browser.get("/read")
    web.fault = None
    browser.get("/logout")
    assert caplog.text
    for word in (value, value[:40], key, other, "4111-1111", SECRET):
        assert word not in caplog.text


# -- PEP 3333 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("use", ["none", "read", "write"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_shape_of_response_is_valid_inside_and_outside(
    shape: Any, use: str, method: str
) -> None:
    web = Watched()

    @web.on("/")
    @validator
    def _(environ: Any, start_response: Any) -> Any:
        if use != "none":
            get_session(environ).get("x")
        if use == "write":
            get_session(environ)["x"] = 1
        return shape(environ, start_response)

    closed = AsObject.closed
    environ = environ_of("/", method, QUERY_STRING="")
    response = call(validator(web.stack), environ)
    assert response.status == 200
    assert response.body == (b"" if shape is as_empty_generator else b"body")
    assert AsObject.closed == closed + (shape is AsObject)
    is_written = use == "write" or shape is as_late_generator
    assert len(web.records()) == is_written
    assert (response.header("Set-Cookie") is not None) == is_written


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_responses_without_a_body_are_valid(status: str) -> None:
    web = Watched()

    @web.on("/")
    @validator
    def _(environ: Any, start_response: Any) -> Any:
        get_session(environ).get("x")
        start_response(status, [])
        return [b""]

    assert call(validator(web.stack), environ_of("/", QUERY_STRING="")).body == b""


def raw_body(web: Watched, path: str) -> Any:
    return web.stack(environ_of(path), lambda *_: lambda _: None)


@pytest.mark.parametrize(
    ("shape", "kind"), [(as_list, list), (as_tuple, tuple), (as_file, FileWrapper)]
)
def test_lists_and_files_stay_what_they_are(web: Watched, shape: Any, kind: type) -> None:
    web.on("/shape")(shape)
    body = raw_body(web, "/shape")
    assert type(body) is kind
    if hasattr(body, "close"):
        body.close()


def test_an_application_that_never_starts_a_response_gets_an_error(web: Watched) -> None:
    web.on("/none")(lambda environ, start_response: [b"x"])
    with pytest.raises(RuntimeError, match="start_response"):
        raw_body(web, "/none")


def test_a_response_is_started_once(web: Watched) -> None:
    @web.on("/twice")
    def _(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        start_response("404 Not Found", [*TEXT])
        return [b"x"]

    with pytest.raises(AssertionError, match="twice"):
        raw_body(web, "/twice")


def test_an_error_after_the_headers_is_for_the_server(web: Watched) -> None:
    """PEP 3333: `start_response` raises `exc_info` if the headers have left already."""
    after: list[str] = []

    @web.on("/late")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield b"first"
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oops", [*TEXT], sys.exc_info())
        after.append("went on")
        yield b"second"

    with pytest.raises(ZeroDivisionError):
        web.browser().get("/late")
    assert after == []


def test_a_generator_may_change_the_session_before_its_first_chunk(web: Watched) -> None:
    @web.on("/late")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        get_session(environ)["n"] = 7
        yield b"first"

    browser = web.browser()
    assert browser.get("/late").header("Set-Cookie") is not None
    assert browser.get("/read").body == b"7"


def test_a_response_that_has_failed_cannot_be_begun_by_a_late_write(web: Watched) -> None:
    writers: list[Any] = []

    @web.on("/")
    def _(_: Any, start_response: Any) -> list[bytes]:
        writers.append(start_response("200 OK", [*TEXT]))
        raise ZeroDivisionError

    sent: list[object] = []

    def start_response(status: str, *_: Any) -> Any:
        sent.append(status)
        return sent.append

    with pytest.raises(ZeroDivisionError):
        web.stack(environ_of("/"), start_response)
    with pytest.raises(RuntimeError, match="closed before its headers were sent"):
        writers[0](b"late")
    assert sent == []


def test_status_headers_and_cookie_are_there_when_the_application_returns(web: Watched) -> None:
    """Granian takes them then, and looks for a `close` that not all iterables have."""

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ)["n"] = 5
        start_response("201 Created", [*TEXT])
        yield b"first"
        yield b"second"

    started: list[Any] = []

    def start_response(*answer: Any) -> Any:
        started.extend(answer)

    body: Any = web.stack(environ_of("/stream"), start_response)
    status, headers = started
    assert status == "201 Created"
    assert "Set-Cookie" in dict(headers)
    assert [*body] == [b"first", b"second"]
    body.close()


def test_changes_after_the_headers_are_committed_when_the_body_is_closed(web: Watched) -> None:
    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        session["cart"] = ["first"]
        start_response("200 OK", [*TEXT])
        yield b"first"
        session["cart"].append("second")
        session.increment("n", 4)
        yield b"second"

    browser = web.browser()
    browser.get("/write")
    browser.get("/stream")
    assert browser.get("/show").body == b"{'n': 5, 'cart': ['first', 'second']}"


@pytest.mark.parametrize("how", ["write", "close"])
def test_changes_after_write_and_at_the_close_are_committed_too(web: Watched, how: str) -> None:
    class Closing:
        def __init__(self, session: Any) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            self.session["n"] = 9

    @web.on("/change")
    def _(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        write = start_response("200 OK", [*TEXT])
        if how == "close":
            return Closing(session)
        write(b"x")
        session["n"] = 9
        return []

    browser = web.browser()
    browser.get("/write")
    assert browser.get("/change").body == b"x"
    assert browser.get("/read").body == b"9"


def test_changes_that_need_a_cookie_after_the_headers_are_refused(web: Watched) -> None:
    refused: list[str] = []
    said: list[str] = []

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        start_response("200 OK", [*TEXT])
        yield b"first"
        attempts: dict[str, Callable[[], object]] = {
            "login": lambda: session.login("alice"),
            "cycle": session.cycle_id,
            "remember": lambda: session.remember(60),
            "new": lambda: session.__setitem__("x", 1),
        }
        for name, action in attempts.items():
            try:
                action()
            except HeadersAlreadySent as error:
                refused.append(name)
                said.append(str(error))
        yield b"second"

    web.browser().get("/stream")
    assert refused == ["login", "cycle", "remember", "new"]
    assert all("before the first body chunk" in text for text in said)
    assert web.records() == []


def test_a_logout_after_the_headers_takes_place(web: Watched) -> None:
    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield b"first"
        get_session(environ).flush()

    browser = web.browser()
    browser.get("/login")
    browser.get("/stream")
    assert web.records() == []


@pytest.mark.parametrize("where", ["stream", "close"])
def test_a_logout_after_the_headers_takes_place_although_an_exception_follows(
    web: Watched, where: str
) -> None:
    class Body:
        def __init__(self, session: Any) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"first"
            self.session["n"] = 99
            self.session.flush()
            if where == "stream":
                raise ZeroDivisionError

        def close(self) -> None:
            if where == "close":
                raise ZeroDivisionError

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*TEXT])
        return Body(get_session(environ))

    browser = web.browser()
    browser.get("/login")
    with pytest.raises(ZeroDivisionError):
        browser.get("/stream")
    assert web.records() == []


def test_a_store_that_fails_in_a_stream_is_the_servers_to_see(web: Watched) -> None:
    """Nothing can be answered any more."""

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield b"first"
        web.fault = unavailable()
        yield str(get_session(environ).get("n")).encode()

    browser = web.browser()
    browser.get("/write")
    statuses: list[str] = []
    environ = environ_of("/stream", cookie=f"session={browser.cookies['session']}")

    def start_response(status: str, *_: Any) -> Any:
        statuses.append(status)
        return pytest.fail

    body = web.stack(environ, start_response)
    assert next(iter(body)) == b"first"
    with pytest.raises(StoreUnavailable):
        next(iter(body))
    assert statuses == ["200 OK"]
    assert "unavailable" in web.names()


def test_a_stream_that_raises_commits_nothing_more_and_ends_cleanly(web: Watched) -> None:
    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        session["n"] = 10
        start_response("200 OK", [*TEXT])
        yield b"first"
        session["n"] = 99
        raise ZeroDivisionError

    browser = web.browser()
    browser.get("/write")
    with pytest.raises(ZeroDivisionError):
        browser.get("/stream")
    assert browser.get("/read").body == b"10"


def test_a_session_cannot_be_changed_after_the_request(web: Watched) -> None:
    kept: list[Any] = []
    web.page("/keep", lambda session: kept.extend([session, session.get("n")]))
    browser = web.browser()
    browser.get("/write")
    browser.get("/keep")
    with pytest.raises(HeadersAlreadySent, match="ended"):
        kept[0]["n"] = 5
    assert kept[0]["n"] == 1, "but still be read"


def test_everything_is_released_if_the_applications_close_raises() -> None:
    web = Watched(exclusive_paths=("/held/*",))
    with_pages(web)

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            raise ZeroDivisionError

    @web.on("/held/x")
    def held(environ: Any, start_response: Any) -> Any:
        get_session(environ)["n"] = 5
        start_response("200 OK", [*TEXT])
        return Body()

    browser = web.browser()
    browser.get("/write")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            browser.get("/held/x")
    assert held_locks(web) == set()
    assert browser.get("/read").body == b"5"


def held_locks(web: Watched) -> set[str]:
    locks: Any = web.stack.manager.backend.locks
    return set(locks._held)


@pytest.mark.parametrize("how", ["raises", "generator raises", "last commit fails", "500", "list"])
def test_the_mutex_of_an_exclusive_path_is_free_after_the_response(how: str) -> None:
    web = Watched(exclusive_paths=("/held",))
    with_pages(web)
    held: list[int] = []

    @web.on("/held")
    def _(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        session["n"] = 5
        held.append(len(held_locks(web)))
        if how == "raises":
            raise ZeroDivisionError
        start_response("500 Oops" if how == "500" else "200 OK", [*TEXT])
        return [b"x"] if how == "list" else stream(session)

    def stream(session: Any) -> Iterator[bytes]:
        if how == "generator raises":
            raise ZeroDivisionError
        yield b"first"
        session["n"] = 6
        if how == "last commit fails":
            web.fault = unavailable()

    browser = web.browser()
    browser.get("/write")
    with suppress(ZeroDivisionError, StoreUnavailable):
        browser.get("/held")
    assert held == [1]
    assert held_locks(web) == set()


def test_changes_in_a_close_that_raises_are_not_committed(web: Watched) -> None:
    class Body:
        def __init__(self, session: Any) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            self.session["n"] = 99

        def close(self) -> None:
            self.session["n"] = 100
            raise ZeroDivisionError

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [*TEXT])
        return Body(get_session(environ))

    browser = web.browser()
    browser.get("/write")
    with pytest.raises(ZeroDivisionError):
        browser.get("/stream")
    assert browser.get("/read").body == b"99", "stored when the iterator ended"


def test_a_client_that_leaves_before_the_first_chunk(web: Watched) -> None:
    """The server closes the body without asking for a chunk: what was done is stored."""

    @web.on("/stream")
    def _(environ: Any, start_response: Any) -> Any:
        get_session(environ)["n"] = 5
        start_response("200 OK", [*TEXT])
        return iter([b"x"])

    browser = web.browser()
    browser.get("/write")
    environ = environ_of("/stream", cookie=f"session={browser.cookies['session']}")
    body: Any = web.stack(environ, lambda *_: print)
    body.close()
    assert browser.get("/read").body == b"5"


def test_an_exclusive_path_is_a_whole_path() -> None:
    middleware = Watched(exclusive_paths=("/cart/*", "/pay")).stack.sessions
    for path in ("/cart/", "/cart/add", "/pay"):
        assert middleware.access(path) == "exclusive"
    for path in ("/", "", "/cart", "/my/cart/add", "/pay/now", "/not/pay"):
        assert middleware.access(path) == "shared"


def test_requests_on_exclusive_paths_take_turns() -> None:
    web = Watched(exclusive_paths=("/turn",), exclusive_waiters=12)
    with_pages(web)
    browser = web.browser()
    browser.get("/write")
    inside: list[int] = []
    most: list[int] = []

    @web.on("/turn")
    def _(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        value = session["n"]
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.002)
        inside.pop()
        session["n"] = value + 1
        start_response("200 OK", [*TEXT])
        return [b"x"]

    threads = [threading.Thread(target=browser.get, args=("/turn",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert browser.get("/read").body == b"13"
    assert max(most) == 1
    assert "conflict" not in web.names()


def test_a_first_read_after_the_end_takes_no_turn() -> None:
    """As a middleware may that stands outside: nothing would end that turn."""
    web = Watched(exclusive_paths=("/null",))
    with_pages(web)
    browser = web.browser()
    browser.get("/write")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    environ = environ_of("/null", cookie=cookie)
    call(web.stack, environ)
    assert get_session(environ)["n"] == 1
    (key,) = web.records()
    with web.stack.manager.hold(key, 0.0):
        pass


def test_a_request_without_the_middleware_raises_an_error_with_advice() -> None:
    with pytest.raises(LookupError, match="wrap the application"):
        get_session({})


def test_a_store_without_a_secret_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_SECRET_KEYS"):
        Watched(secret_keys=())


def test_a_file_store_needs_no_secret_and_all_stacks_share_its_own(tmp_path: Path) -> None:
    first, second = (Watched(url=f"file://{tmp_path}/sessions", secret_keys=()) for _ in range(2))
    with_pages(first)
    with_pages(second)
    browser = first.browser()
    browser.get("/write")
    browser.app = second.stack
    assert browser.get("/read").body == b"1"


def test_a_configuration_reaches_what_it_configures(tmp_path: Path) -> None:
    web = Watched(
        url=f"file://{tmp_path}/sessions",
        idle_lifetime=500.0,
        absolute_lifetime=900.0,
        max_size=200,
        timeout=0.25,
        fsync="data",
        sweep_interval=1234.0,
        max_sessions=1,
    )
    web.page("/big", lambda session: session.__setitem__("big", "x" * 300))
    web.page("/new", lambda session: session.__setitem__("n", 1))
    sweeper: Any = web.stack._sweeper
    sweeper.ensure_running = lambda: None  # its thread would clear what is looked at
    rounds = sweeper.rounds
    started = time.time()
    browser = web.browser()
    browser.get("/new")
    assert not rounds.is_due
    assert web.browser().get("/new").status == 503
    with pytest.raises(SessionTooLarge):
        browser.get("/big")
    manager: Any = web.stack.manager
    (key,) = web.records()
    record = manager.backend.sessions.load(key)
    assert started + 500 <= record.expires_at <= time.time() + 500
    assert manager.lifetimes.absolute == 900
    files = manager.backend.sessions._files
    assert (files._timeout, files._fsync) == (0.25, "data")
    assert (rounds._interval, rounds._max_sessions) == (1234.0, 1)
    assert rounds.is_due, "there is no room for more"
    assert web.names().count("created") == 1
    web.stack.close()


def test_a_stack_sweeps_from_its_first_request_until_it_is_closed() -> None:
    web = Watched(sweep_interval=3600.0)
    with_pages(web)
    store: Any = web.stack.manager.backend.sessions
    closed: list[int] = []
    store.close = lambda: closed.append(1)
    store.create("dead", b"", 1.0)
    others = sweeping()  # stacks of other tests, which nobody closed
    assert store.count_expired() == 1
    web.browser().get("/untouched")
    (thread,) = sweeping() - others
    wait_until(lambda: store.count_expired() == 0, "the first sweep")
    web.stack.close()
    thread.join(10)
    assert not thread.is_alive()
    assert closed == [1]


def sweeping() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "wsgi_sessions sweeper"}


def test_a_key_prefix_reaches_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def spy(url: str, **settings: Any) -> Any:
        asked.append(settings["key_prefix"])
        return open_backend(url, **settings)

    monkeypatch.setattr("wsgi_sessions.stack.choice.chosen.open_backend", spy)
    Watched(key_prefix="app:")
    assert asked == ["app:"]


def test_every_error_is_of_one_tree() -> None:
    for error in (CorruptRecord, HeadersAlreadySent, StoreUnavailable, UnserializableValue):
        assert issubclass(error, SessionError)
    assert encode(1) == b"\x01"
