"""Cookie headers that no browser of an honest visitor sends, at the door of an application."""

from __future__ import annotations

from collections import Counter

import flask_sites
import pytest
from watched import SECRET, Watched, with_pages

from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.importers.urls import ImportOptions, open_importer

NAMES = ("session", "__Host-session")
SIGNER = IdSigner([SECRET])


def site(name: str) -> Watched:
    web = Watched(cookie=CookiePolicy(name=name))
    with_pages(web)
    web.page("/who", lambda session: session.principal)
    return web


def logged_in(web: Watched, name: str) -> str:
    browser = web.browser()
    browser.get("/login", **{"wsgi.url_scheme": "https"})
    return browser.cookies[name]


SMUGGLED = [
    "theme=x,{name}={value}",
    "theme=x, {name}={value}",
    "theme=x, {name}={value},y=1",
    "theme=x\t,\t{name}={value}",
    'theme="x,{name}={value}"',
    'theme="x, {name}={value}',
    "theme={name}={value}",
    "theme= {name}={value}",
    "={name}={value}",
    "=={name}={value}",
    "{name}={value},y=1",
    "{name}={value}, {name}={value}",
    "\xa0{name}={value}",
    "\x0b{name}={value}",
    "\x85{name}={value}",
    "theme=x\r\n{name}={value}",
    "theme=x\x00{name}={value}",
    "theme=x&{name}={value}",
    "theme=x {name}={value}",
    "{name} ={value}",
    "{name}= {value}",
    "%73ession={value}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", SMUGGLED)
def test_a_value_of_another_cookie_never_names_a_session(name: str, template: str) -> None:
    web = site(name)
    header = template.format(name=name, value=logged_in(web, name))
    web.calls.clear()
    assert web.browser().get("/who", cookie=header).body == b"None"
    assert web.calls == {}, "no store call either"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", SMUGGLED)
def test_smuggling_logs_no_user_out(name: str, template: str) -> None:
    web = site(name)
    victim, evil = logged_in(web, name), logged_in(web, name)
    web.page("/who", lambda session: session.principal)
    for header in (f"{name}={victim}; {template}", f"{template}; {name}={victim}"):
        cookie = header.format(name=name, value=evil)
        assert web.browser().get("/who", cookie=cookie).body == b"'alice'", cookie
    assert "ambiguous" not in web.names()


def test_two_headers_joined_by_a_comma_are_anonymous_and_no_error() -> None:
    web = site("session")
    value = logged_in(web, "session")
    for header in (f"a=1,session={value}", f"session={value},a=1"):
        answer = web.browser().get("/who", cookie=header)
        assert (answer.status, answer.body) == (200, b"None")
    assert web.browser().get("/who", cookie=f"a=1; session={value}").body == b"'alice'"


def test_a_quoted_cookie_of_an_old_client_is_read() -> None:
    web = site("session")
    value = logged_in(web, "session")
    for header in (f'session="{value}"', f'$Version="1"; session="{value}"; $Path="/"'):
        assert web.browser().get("/who", cookie=header).body == b"'alice'"


BAD = [
    "",
    "; ; ;session=x",
    "session",
    "session=",
    "=session=x",
    "==x; session=no",
    "Session={good}",
    "a=\xff; b={{json: 1}}; c",
    "session=\x00{good}",
    "session={good}\x00",
    "session={good}\r\n",
    'session="{good}',
    'session={good}"',
    "session=" + "\\" * 60_000,
    "session=" + "A" * 65_536,
    "; ".join(f"session={i}" for i in range(10_000)),
    "session = {good}",
    "session=\uff11",
    "$Version=1",
]


@pytest.mark.parametrize("template", BAD, ids=range(len(BAD)))
def test_a_bad_header_is_anonymous_without_a_store_call(template: str) -> None:
    web = site("session")
    header = template.format(good=logged_in(web, "session"))
    web.calls = Counter()
    answer = web.browser().get("/who", cookie=header)
    assert (answer.status, answer.body, web.calls) == (200, b"None", {})


@pytest.mark.parametrize("text", ["../../etc/passwd", "*", "{}", "%00", "\n", "", "a", "a" * 4096])
def test_a_well_signed_text_that_is_not_an_id_is_anonymous(text: str) -> None:
    web = site("session")
    answer = web.browser().get("/who", cookie=f"session={SIGNER.sign(text)}")
    assert (answer.status, answer.body, web.calls) == (200, b"None", {})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("flask-cookie://", "session"),
        ("flask-session+redis://127.0.0.1:1/0", "session"),
        ("django+redis://127.0.0.1:1/1", "sessionid"),
    ],
)
def test_an_importers_cookie_is_not_smuggled_in_either(url: str, name: str) -> None:
    importer = open_importer(url, ImportOptions((flask_sites.SECRET.encode(),)))
    value = flask_sites.in_cookie().login() if "cookie" in url else "k" * 32
    assert importer.names(f"{name}={value}"), "the cookie is one of theirs"
    assert importer.names(f'{name}="{value}"') == importer.names(f"{name}={value}")
    for header in (f"theme=x,{name}={value}", f"theme=x, {name}={value}; y=1"):
        assert importer.names(header) == []
