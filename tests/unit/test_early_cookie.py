"""Several first requests of one visitor at once, and the cookie that comes with the page before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from cookie_jar import Jar
from flask import Flask
from flask import session as flask_session
from watched import TEXT, Watched, with_pages
from wsgi_client import call, environ_of

from wsgi_sessions import Config, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy

if TYPE_CHECKING:
    from wsgi_client import Response

HOST = "app.example.test"
PAGE = {
    "HTTP_HOST": HOST,
    "wsgi.url_scheme": "https",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_SEC_FETCH_SITE": "none",
}
SCRIPT = {**PAGE, "HTTP_SEC_FETCH_MODE": "cors", "HTTP_SEC_FETCH_DEST": "empty"}


def site(**settings: Any) -> Watched:
    web = Watched(**{"early_cookie": True, **settings})
    with_pages(web)
    web.page("/new", lambda session: session.new)
    return web


def load(web: Any, path: str = "/untouched", **more: Any) -> Response:
    return call(web.stack, {**environ_of(path), **PAGE, **more})


def cookies(answer: Response) -> list[str]:
    return [value for name, value in answer.headers if name == "Set-Cookie"]


def first_requests(web: Watched, jar: Jar, keys: str) -> list[Response]:
    """Requests of one page's scripts that are all under way before the first one is answered."""
    barrier = threading.Barrier(len(keys))
    answers: list[Response] = []

    @web.on("/put")
    def put(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        _ = session.get("n")
        barrier.wait(30)
        session[environ["QUERY_STRING"]] = 1
        start_response("200 OK", [*TEXT])
        return [b""]

    def ask(key: str) -> None:
        environ = jar.environ("/put", **{**SCRIPT, "QUERY_STRING": key})
        answers.append(call(web.stack, environ))

    threads = [threading.Thread(target=ask, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        jar.take(answer)
    return answers


def test_a_page_brings_the_cookie_so_that_first_requests_in_parallel_share_a_session() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web))
    first_requests(web, jar, "abcd")
    web.page("/show", sorted)
    assert jar.get(web.stack, "/show").body == b"['a', 'b', 'c', 'd']"
    assert len(web.records()) == 1
    assert web.names() == ["created"]


def test_without_it_each_makes_a_session_which_is_reported_and_counted() -> None:
    web, jar = site(early_cookie=False), Jar(HOST)
    assert cookies(load(web)) == []
    first_requests(web, jar, "abcd")
    assert len(web.records()) == 4
    told = [event.facts for event in web.events if event.name == "cookieless"]
    assert [fact["count"] for fact in told] == [1, 2, 3, 4]
    assert {fact["route"] for fact in told} == {"GET /put"}
    jar.get(web.stack, "/write", **SCRIPT)
    load(web, "/write")
    assert web.names().count("cookieless") == 4, "neither one with a cookie, nor a page"


@pytest.mark.parametrize("path", ["/untouched", "/read"])
def test_the_early_session_is_new_and_private(path: str) -> None:
    web, jar = site(), Jar(HOST)
    answer = load(web, path)
    (cookie,) = cookies(answer)
    assert cookie.startswith("session=")
    assert answer.header("Vary") == "Cookie"
    assert answer.header("Cache-Control") == "private"
    jar.take(answer)
    assert jar.get(web.stack, "/new").body == b"True"
    jar.get(web.stack, "/write")
    assert jar.get(web.stack, "/new").body == b"False"


def test_an_early_session_that_logs_in_is_not_new() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web))
    before = jar.header("/")
    jar.get(web.stack, "/login")
    assert jar.header("/") != before
    assert jar.get(web.stack, "/new").body == b"False"
    assert len(web.records()) == 1


def test_a_page_that_begins_a_session_itself_has_one_and_is_unchanged() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web, "/write"))
    assert web.names() == ["created"]
    assert jar.get(web.stack, "/show").body == b"{'n': 1}"


def test_a_cookie_costs_no_store_call_on_a_page_that_does_not_use_the_session() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web))
    web.calls.clear()
    assert cookies(call(web.stack, jar.environ("/untouched", **PAGE))) == []
    assert web.calls == {}


def test_a_dead_cookie_is_replaced_where_the_page_looks_at_the_session() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web))
    for key in web.records():
        web.stack.manager.destroy(key)
    assert len(cookies(call(web.stack, jar.environ("/read", **PAGE)))) == 1


OTHERS: dict[str, dict[str, str]] = {
    "a script": SCRIPT,
    "a form": {"REQUEST_METHOD": "POST"},
    "an image": {"HTTP_SEC_FETCH_MODE": "no-cors", "HTTP_SEC_FETCH_DEST": "image"},
    "any client": {"HTTP_SEC_FETCH_MODE": "", "HTTP_ACCEPT": "*/*"},
    "a frame of another site": {
        "HTTP_SEC_FETCH_DEST": "iframe",
        "HTTP_SEC_FETCH_SITE": "cross-site",
    },
}


@pytest.mark.parametrize("more", OTHERS.values(), ids=OTHERS)
def test_other_requests_get_none(more: dict[str, str]) -> None:
    web = site()
    assert cookies(load(web, **more)) == []
    assert web.calls == {}


HELD_BACK: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"path": "/app"}, {}),
    ({"domain": "other.test"}, {}),
    ({"secure": "always"}, {"wsgi.url_scheme": "http"}),
    ({"samesite": "Strict"}, {"HTTP_SEC_FETCH_SITE": "cross-site"}),
]


@pytest.mark.parametrize(("policy", "more"), HELD_BACK)
def test_where_browsers_hold_the_cookie_back_none_replaces_it(
    policy: dict[str, Any], more: dict[str, str]
) -> None:
    web = site(cookie=CookiePolicy(**policy))
    assert cookies(load(web, **more)) == []
    assert web.calls == {}


@pytest.mark.parametrize(
    ("policy", "path", "more"),
    [
        ({"path": "/app"}, "/app", {}),
        ({"path": "/app/"}, "/app/x", {}),
        ({"path": "/app"}, "/x", {"SCRIPT_NAME": "/app"}),
        ({"domain": "example.test"}, "/", {"HTTP_HOST": f"{HOST}:8443"}),
        ({"samesite": "Strict"}, "/", {"HTTP_SEC_FETCH_SITE": "same-origin"}),
        ({}, "/", {"HTTP_SEC_FETCH_SITE": "cross-site"}),
    ],
)
def test_where_it_would_come_back_one_is_given(
    policy: dict[str, Any], path: str, more: dict[str, str]
) -> None:
    web = site(cookie=CookiePolicy(**policy))
    web.page(path, lambda session: None)
    assert len(cookies(load(web, path, **more))) == 1


@pytest.mark.parametrize("status", ["304 Not Modified", "404 Not Found", "500 Oops"])
def test_only_pages_bring_one(status: str) -> None:
    web = site()
    web.page("/p", lambda session: session.get("n"), status)
    assert cookies(load(web, "/p")) == []
    assert web.records() == []


@pytest.mark.parametrize("path", ["/untouched", "/read"])
def test_a_store_that_does_not_answer_costs_no_page(path: str) -> None:
    web = site()
    web.fault = StoreUnavailable("down for the test", operation="create")
    answer = load(web, path)
    assert (answer.status, cookies(answer)) == (200, [])
    assert load(web, "/write").status == 503, "but what the page itself stores is not lost silently"


def test_a_request_that_a_login_has_replaced_gets_none() -> None:
    web, jar = site(), Jar(HOST)
    jar.take(load(web))
    old = jar.environ("/read", **PAGE)
    jar.get(web.stack, "/login")
    assert cookies(call(web.stack, old)) == []
    assert "superseded" not in web.names(), "it stored nothing"
    assert len(web.records()) == 1


URL = {"WSGI_SESSIONS_URL": "memory://"}


def test_it_is_a_setting() -> None:
    assert Config.from_environ(URL).early_cookie is False
    assert Config.from_environ({**URL, "WSGI_SESSIONS_EARLY_COOKIE": "true"}).early_cookie is True


def test_a_flask_application_has_it_too() -> None:
    app = Flask("early")
    app.config.update(
        SECRET_KEY="s" * 40,
        WSGI_SESSIONS_URL="memory://",
        WSGI_SESSIONS_EARLY_COOKIE="on",
        SESSION_PERMANENT=True,
    )
    WSGISessions(app)
    app.add_url_rule("/", view_func=lambda: "page")
    app.add_url_rule("/put", "put", lambda: flask_session.update(n=1) or "")
    jar = Jar(HOST)
    (cookie,) = cookies(jar.get(app, "/", **PAGE))
    assert "Max-Age" not in cookie
    answer = jar.get(app, "/put", **SCRIPT)
    assert "Max-Age" in cookies(answer)[0], "permanent by default, as every new session"
