"""Sessions that pyramid_session_redis and Beaker wrote, with their own code."""

from __future__ import annotations

import base64
import functools
import json
import os
import pickle
import time
import warnings
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from beaker.middleware import SessionMiddleware as BeakerMiddleware
from command_line import run
from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory
from pyramid_session_redis import RedisSessionFactory
from webob.cookies import SignedSerializer
from wsgi_client import Browser, call, environ_of

from wsgi_sessions import Config, ConfigurationError, build, get_session
from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.libraries import beaker, pyramid_cookie, pyramid_redis
from wsgi_sessions.importers.pickles import unpickle
from wsgi_sessions.importers.settings import ImportConfig
from wsgi_sessions.importers.urls import ImportOptions, open_importer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from redis_servers import RedisServer

    Make = Callable[[str], Browser]

SECRET = "gehört einem anderen"  # as long as it likes, in any script
VALUES: dict[str, Any] = {"auth.userid": 7, "cart": ["tea", {"n": 2}], "name": "Zoë"}
NEVER = date(9998, 12, 31)


# -- the former applications -----------------------------------------------------------------------


def pyramid_site(redis_url: str, **options: Any) -> WSGIApplication:
    """With pyramid_session_redis."""

    def login(request: Any) -> Any:
        request.session.update(VALUES)
        request.session.flash("welcome")
        return Response("in")

    with Configurator() as config:
        factory = RedisSessionFactory(SECRET, redis_url=redis_url, **options)
        config.set_session_factory(factory)
        config.add_route("login", "/login")
        config.add_view(login, route_name="login")
        app: WSGIApplication = config.make_wsgi_app()
        return app


def signed_cookie_site(**options: Any) -> WSGIApplication:
    """With Pyramid's own session, in a signed cookie."""

    def login(request: Any) -> Any:
        request.session.update(VALUES)
        request.session.flash("welcome")
        return Response("in")

    with Configurator() as config:
        config.set_session_factory(SignedCookieSessionFactory(SECRET, **options))
        config.add_route("login", "/login")
        config.add_view(login, route_name="login")
        app: WSGIApplication = config.make_wsgi_app()
        return app


AS_JSON = {
    "serialize": lambda data: json.dumps(data).encode(),
    "deserialize": json.loads,
}


def beaker_site(**options: Any) -> WSGIApplication:
    """With Beaker."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session = environ["beaker.session"]
        session.update(VALUES)
        session.save()
        start_response("200 OK", [])
        return [b""]

    settings = {f"session.{name}": value for name, value in options.items()}
    made: WSGIApplication = BeakerMiddleware(app, {**settings, "session.secret": SECRET})
    return made


def cookie_from(site: WSGIApplication, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of redis-py, at methods that it means to drop
        response = call(site, environ_of("/login"))
    assert response.status == 200
    (cookie,) = [value for key, value in response.headers if key.lower() == "set-cookie"]
    return cookie.strip().partition(";")[0].removeprefix(f"{name}=")


# -- ours ------------------------------------------------------------------------------------------


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    if environ["PATH_INFO"] == "/logout":
        session.flush()
    start_response("200 OK", [])
    return [json.dumps([dict(session), session.principal, session.lifetime]).encode()]


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Make]:
    """A browser of our application, which imports from a URL."""
    stacks = []

    def make(url: str) -> Browser:
        config = Config(
            url=f"file://{tmp_path}/ours",
            principal_key="auth.userid",
            imports=ImportConfig(url, NEVER, (SECRET,)),
        )
        stacks.append(build(application, config))
        return Browser(stacks[-1])

    yield make
    for stack in stacks:
        stack.close()


def convert(folder: Path, url: str, *more: str) -> Any:
    """What the offline command did, by outcome."""
    environ = {
        "WSGI_SESSIONS_URL": f"file://{folder}/ours",
        "WSGI_SESSIONS_PRINCIPAL_KEY": "auth.userid",
        "WSGI_SESSIONS_IMPORT_FROM": url,
        "WSGI_SESSIONS_IMPORT_UNTIL": NEVER.isoformat(),
        "WSGI_SESSIONS_IMPORT_SECRET_KEYS": SECRET,
    }
    done = run("import", "--json", *more, **environ)
    return json.loads(done.stdout)["outcomes"]


def seen(browser: Browser, path: str = "/") -> Any:
    return json.loads(browser.get(path).body)


def assert_moved(browser: Browser, name: str, cookie: str, lifetime: float | None = None) -> None:
    """The user stays logged in, and can log out for good."""
    browser.cookies[name] = cookie
    found, principal, kept = seen(browser)
    assert {key: found.get(key) for key in VALUES} == VALUES
    assert (principal, kept) == (7, lifetime)
    assert not [key for key in found if key in ("_accessed_time", "_creation_time")]
    assert seen(browser)[0] == found  # with our own cookie
    seen(browser, "/logout")
    browser.cookies[name] = cookie
    assert seen(browser)[0] == {}


def altered(cookie: str) -> str:
    """With another first character."""
    return f"{'0' if cookie[0] != '0' else '1'}{cookie[1:]}"


# -- Pyramid's own ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lasting", ["off", "on"])
def test_a_user_of_pyramid_s_own_session_stays_logged_in(ours: Make, lasting: str) -> None:
    cookie = cookie_from(signed_cookie_site(), "session")
    browser = ours(f"pyramid-cookie://?lasting={lasting}")
    browser.cookies["session"] = cookie
    assert seen(browser)[0]["_f_"] == ["welcome"]
    again = ours(f"pyramid-cookie://?lasting={lasting}")
    assert_moved(again, "session", cookie, 24 * 3600.0 if lasting == "on" else None)


def test_an_old_or_forged_cookie_of_pyramid_s_own_is_none() -> None:
    cookie, now = cookie_from(signed_cookie_site(), "session"), time.time()
    secrets = [b"newer", SECRET.encode()]
    verify = pyramid_cookie.signed_content(secrets, 1200, lambda: now)
    assert verify(cookie) is not None
    for forged in (cookie[:-1], f"{cookie}=", altered(cookie), "", "a", "ü", cookie[86:]):
        assert verify(forged) is None
    assert pyramid_cookie.signed_content([b"another"], 1200, lambda: now)(cookie) is None
    for moment in (now + 1300, now - 100):
        at_another_time = functools.partial(float, moment)
        assert pyramid_cookie.signed_content(secrets, 1200, at_another_time)(cookie) is None


@pytest.mark.parametrize("content", [b"7", b"[]", b'["x", 1, {}]', b"[", b'"text"', b"[" * 99999])
def test_a_signed_cookie_of_another_content_is_none(content: bytes) -> None:
    cookie = SignedSerializer(SECRET, "pyramid.session.", serializer=AsItIs()).dumps(content)
    verify = pyramid_cookie.signed_content([SECRET.encode()], 1200, time.time)
    assert verify(cookie.decode()) is None


class AsItIs:
    """A serializer of bytes."""

    def dumps(self, content: bytes) -> bytes:
        return content


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"7"])
def test_a_content_of_another_form_is_refused(content: bytes) -> None:
    with pytest.raises(ImportRefused, match="does not decode"):
        pyramid_cookie.reader(None)(content)


def test_sessions_in_cookies_are_not_converted_offline() -> None:
    importer = open_importer("pyramid-cookie://", ImportOptions((SECRET.encode(),)))
    with pytest.raises(ConfigurationError, match="Pyramid's own sessions are in the users'"):
        importer.records.names()


# -- pyramid_session_redis -------------------------------------------------------------------------


@pytest.mark.parametrize("lasting", ["off", "on"])
def test_a_user_of_pyramid_session_redis_stays_logged_in(
    end_to_end_redis: RedisServer, ours: Make, lasting: str
) -> None:
    cookie = cookie_from(pyramid_site(end_to_end_redis.url, **AS_JSON), "session")
    browser = ours(f"pyramid-session-redis+{end_to_end_redis.url}?lasting={lasting}")
    browser.cookies["session"] = cookie
    assert seen(browser)[0]["_f_"] == ["welcome"]
    again = ours(f"pyramid-session-redis+{end_to_end_redis.url}?lasting={lasting}")
    assert_moved(again, "session", cookie, 24 * 3600.0 if lasting == "on" else None)


def test_its_pickles_are_converted_offline(
    end_to_end_redis: RedisServer, ours: Make, tmp_path: Path
) -> None:
    cookie = cookie_from(pyramid_site(end_to_end_redis.url), "session")
    url = f"pyramid-session-redis+{end_to_end_redis.url}"
    browser = ours(url)
    browser.cookies["session"] = cookie
    assert seen(browser)[0] == {}, "a request read a pickle"
    assert convert(tmp_path, url)["refused"] >= 1
    assert convert(tmp_path, url, "--allow-pickle")["imported"] >= 1
    assert_moved(ours(url), "session", cookie)


def test_a_forged_cookie_of_pyramid_s_is_none(end_to_end_redis: RedisServer, ours: Make) -> None:
    cookie = cookie_from(pyramid_site(end_to_end_redis.url, **AS_JSON), "session")
    verify = pyramid_redis.signed_name([SECRET.encode()])
    assert verify(cookie) is not None
    for forged in (cookie[:-1], f"{cookie}=", altered(cookie), "", "a", "ü", cookie[86:]):
        assert verify(forged) is None
    assert pyramid_redis.signed_name([b"another"])(cookie) is None


@pytest.mark.parametrize("payload", [b"{}", b'{"m": {}}', b"{", b'{"m":{},"c":1,"v":1,"x":5}'])
def test_what_is_no_live_session_of_pyramid_s_is_refused(payload: bytes) -> None:
    read = pyramid_redis.reader(None, time.time, None)
    with pytest.raises(ImportRefused, match=r"not a session|does not decode|has expired"):
        read(payload)


# -- Beaker ----------------------------------------------------------------------------------------

_DATA = {"pickle": {}, "json": {"data_serializer": "json"}}


@pytest.mark.parametrize("data", _DATA)
@pytest.mark.parametrize("place", ["file", "redis"])
def test_a_user_of_beaker_stays_logged_in(
    end_to_end_redis: RedisServer, ours: Make, tmp_path: Path, place: str, data: str
) -> None:
    url, options = f"beaker+{end_to_end_redis.url}", {"type": "ext:redis"}
    if place == "redis":
        options["url"] = end_to_end_redis.url
    else:
        url, options = f"beaker+file://{tmp_path}/data", {"data_dir": f"{tmp_path}/data"}
    cookie = cookie_from(beaker_site(**options, **_DATA[data]), "beaker.session.id")
    browser = ours(url)
    browser.cookies["beaker.session.id"] = cookie
    assert seen(browser)[0] == {}, "a request read a pickle"
    assert convert(tmp_path, url)["refused"] >= 1
    assert convert(tmp_path, url, "--allow-pickle")["imported"] >= 1
    assert_moved(ours(url), "beaker.session.id", cookie)


def test_an_old_file_of_beaker_s_has_expired(tmp_path: Path) -> None:
    cookie_from(beaker_site(data_dir=f"{tmp_path}/data"), "beaker.session.id")
    url = f"beaker+file://{tmp_path}/data?timeout=1h"
    (file,) = (tmp_path / "data" / "container_file").rglob("*.cache")
    for age, outcome in ((3500, "imported"), (3700, "expired")):
        os.utime(file, (time.time() - age, time.time() - age))
        assert convert(tmp_path, url, "--allow-pickle") == {outcome: 1}


@pytest.mark.parametrize("packed", [None, b"\xff", b"bm9uY2U=", base64.b64encode(b"{"), 5])
def test_an_encrypted_or_damaged_session_of_beaker_s_is_refused(packed: object) -> None:
    read = beaker.reader(None, unpickle)
    with pytest.raises(ImportRefused):
        read(pickle.dumps({"session": packed}))


def test_a_forged_cookie_of_beaker_s_is_none(tmp_path: Path) -> None:
    cookie = cookie_from(beaker_site(data_dir=f"{tmp_path}/data"), "beaker.session.id")
    verify = beaker.signed_name([SECRET.encode()])
    assert verify(cookie) == cookie[40:]
    for forged in (cookie[40:], cookie[:-1], altered(cookie), "", "ü" * 72, cookie.upper()):
        assert verify(forged) is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("beaker+file:///absent", "container_file"),
        ("beaker+file:///tmp?timeout=never", "timeout must be"),
        ("beaker+redis://host/0?lasting=yes", "lasting must be on or off"),
        ("beaker+postgresql://host/db", "no sessions can be read"),
        ("pyramid-cookie://host", "not on a server"),
        ("pyramid-cookie://?max_age=never", "max_age must be"),
    ],
)
def test_a_wrong_url_is_told(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        open_importer(url, ImportOptions((b"x",)))


@pytest.mark.parametrize(
    "url",
    ["beaker+redis://host/0", "pyramid-session-redis+redis://host/0", "pyramid-cookie://"],
)
def test_their_secret_is_needed(url: str) -> None:
    opened = functools.partial(open_importer, url, ImportOptions())
    with pytest.raises(ConfigurationError, match=r"imports\.secret_keys"):
        opened()
