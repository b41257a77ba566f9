"""Sessions that Flask-Session, Django and Flask wrote, with their own code: all stay logged in."""

from __future__ import annotations

import base64
import pickle
import time
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django_site
import flask_sites
import pytest
from cachelib.file import FileSystemCache
from databases import new_database, postgresql
from documents import codes, rows
from flask_sites import PLAIN, TAGGED
from itsdangerous import TimestampSigner
from redis_servers import RedisServer
from wsgi_client import Browser, Response

from wsgi_sessions import Config, ConfigurationError, Event, build, get_session
from wsgi_sessions.errors import ImportRefused, StoreUnavailable
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.importers.libraries import django, flask_cookie, flask_session
from wsgi_sessions.importers.libraries.flask_cookie import untag
from wsgi_sessions.importers.settings import ImportConfig
from wsgi_sessions.importers.urls import ImportOptions, open_importer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

NEVER = date(9998, 12, 31)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Shows the session, after doing what the path says."""
    session = get_session(environ)
    match environ["PATH_INFO"]:
        case "/logout":
            session.flush()
        case "/count":
            session.increment("count")
        case "/ignore":
            start_response("200 OK", [])
            return [b""]
    start_response("200 OK", [("Content-Type", "text/plain")])
    found = (dict(session), session.principal, session.lifetime)
    return [pickle.dumps(found)]  # of this test's own application, to itself


class ForeignSite:
    """Our application after the move."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        secret: str = flask_sites.SECRET,
        until: date = NEVER,
        **config: Any,
    ) -> None:
        self.events: list[Event] = []
        self.stack = build(
            application,
            Config(
                url=f"file://{folder}/ours",
                cookie=CookiePolicy(secure="never"),
                imports=ImportConfig(url, until, (secret,)),
                **config,
            ),
            on_event=self.events.append,
        )

    def browser(self, cookie: str, name: str = "session") -> Browser:
        """A browser that has a cookie of the former application."""
        browser = Browser(self.stack)
        browser.cookies[name] = cookie
        return browser

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def close(self) -> None:
        self.stack.close()


@pytest.fixture
def move(tmp_path: Path) -> Iterator[Callable[..., ForeignSite]]:
    """Makes `ForeignSite`s and closes them."""
    sites: list[ForeignSite] = []

    def make(url: str, **more: Any) -> ForeignSite:
        sites.append(ForeignSite(tmp_path, url, **more))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def seen(response: Response) -> tuple[dict[str, Any], object, float | None]:
    """The session's values, principal and lifetime."""
    assert response.status == 200, response.body
    found: tuple[dict[str, Any], object, float | None] = pickle.loads(response.body)
    return found


def values(response: Response) -> dict[str, Any]:
    return {key: value for key, value in seen(response)[0].items() if not key.startswith("_")}


def assert_moves(
    site: ForeignSite, cookie: str, expected: dict[str, Any], name: str = "session"
) -> None:
    """The user stays logged in, gets a cookie of ours, and can log out for good."""
    browser = site.browser(cookie, name)
    first = browser.get("/")
    assert values(first) == expected
    assert first.header("Set-Cookie") is not None
    assert browser.cookies["session"] != cookie
    assert site.names() == ["imported", "ended"]

    assert values(site.browser(cookie, name).get("/")) == expected  # its response had been lost

    again = browser.get("/")  # with ours
    assert values(again) == expected
    assert again.header("Set-Cookie") is None
    assert site.names() == ["imported", "ended"]

    browser.get("/logout")
    for path in ("/", "/count", "/"):
        replayed = site.browser(cookie, name).get(path)
        assert not values(replayed).keys() - {"count"}
    assert site.names().count("imported") == 1


# -- Flask-Session ---------------------------------------------------------------------------------


@pytest.mark.parametrize("serialization", ["msgpack", "json"])
@pytest.mark.parametrize("signer", ["off", "on"])
def test_a_user_of_flask_session_stays_logged_in(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite], signer: str, serialization: str
) -> None:
    theirs = flask_sites.in_redis(
        end_to_end_redis.url,
        SESSION_USE_SIGNER=signer == "on",
        SESSION_SERIALIZATION_FORMAT=serialization,
        SESSION_KEY_PREFIX="shop:",
    )
    cookie = theirs.login()
    ours = move(f"flask-session+{end_to_end_redis.url}?prefix=shop:&signer={signer}")
    assert theirs.user(cookie) == 7
    assert_moves(ours, cookie, PLAIN)
    assert theirs.user(cookie) is None  # dead in both


@pytest.mark.parametrize("serialization", ["msgpack", "json"])
@pytest.mark.parametrize("place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_a_user_of_flask_session_on_sqlalchemy_stays_logged_in(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    move: Callable[..., ForeignSite],
    place: str,
    serialization: str,
) -> None:
    if place == "sqlite":
        theirs_at = f"sqlite:///{tmp_path}/theirs.db"
        url = theirs_at
    else:
        theirs_at = new_database(request.getfixturevalue("postgresql_server")).url
        url = theirs_at.replace("postgresql+psycopg", "postgresql")
    theirs = flask_sites.in_table(
        theirs_at, SESSION_SERIALIZATION_FORMAT=serialization, SESSION_SQLALCHEMY_TABLE="visits"
    )
    request.addfinalizer(theirs.close)
    cookie = theirs.login()
    ours = move(f"flask-session+{url}{'&' if '?' in url else '?'}table=visits")
    assert theirs.user(cookie) == 7
    assert_moves(ours, cookie, PLAIN)
    assert theirs.user(cookie) is None  # dead in both


def test_a_permanent_session_keeps_a_lasting_cookie(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite]
) -> None:
    ours = move(f"flask-session+{end_to_end_redis.url}", idle_lifetime=7200.0)
    for permanent, lifetime in ((True, 7200.0), (False, None)):
        theirs = flask_sites.in_redis(end_to_end_redis.url, SESSION_PERMANENT=permanent)
        response = ours.browser(theirs.login()).get("/")
        assert seen(response)[2] == lifetime
        assert ("Max-Age=7200" in str(response.header("Set-Cookie"))) is permanent


def test_the_principal_is_bound_and_found(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite]
) -> None:
    ours = move(f"flask-session+{end_to_end_redis.url}", principal_key="user_id")
    cookie = flask_sites.in_redis(end_to_end_redis.url).login()
    browser = ours.browser(cookie)
    assert seen(browser.get("/"))[1] == 7
    assert ours.stack.manager.destroy_sessions_of(7) == 1
    assert values(browser.get("/")) == {}
    assert values(ours.browser(cookie).get("/")) == {}


def test_an_unsigned_cookie_is_refused_where_they_are_signed(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite]
) -> None:
    cookie = flask_sites.in_redis(end_to_end_redis.url).login()
    ours = move(f"flask-session+{end_to_end_redis.url}?signer=on")
    for forged in (cookie, f"{cookie}.", f"{cookie}.AAAA", f".{cookie}"):
        assert values(ours.browser(forged).get("/")) == {}
    assert ours.names() == []


@pytest.mark.parametrize("place", ["redis", "file"])
def test_no_request_reads_a_pickle(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite], tmp_path: Path, place: str
) -> None:
    """It is refused and left alone, and says what to do."""
    name = "p" * 43
    if place == "redis":
        end_to_end_redis.command("SET", f"session:{name}", pickle.dumps(ForeignBomb()))
        ours = move(f"flask-session+{end_to_end_redis.url}")
    else:
        folder = tmp_path / "theirs"
        FileSystemCache(str(folder)).set(f"session:{name}", {"bomb": ForeignBomb()})
        ours = move(flask_sites.import_url(folder))
    assert values(ours.browser(name).get("/")) == {}
    assert ours.names() == ["import-refused"]
    assert "--allow-pickle" in str(ours.events[0].facts["reason"])
    if place == "redis":
        assert end_to_end_redis.command("EXISTS", f"session:{name}") == 1


class ForeignBomb:
    """What must not be unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("a pickle was read",)


# -- Django ----------------------------------------------------------------------------------------

_DJANGO = {"cart": ["tea", {"n": 2}], "name": "Zoë"}


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    with postgresql() as server:
        yield server


@pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak), "redis"]
)
def test_a_user_of_django_stays_logged_in(
    request: pytest.FixtureRequest, tmp_path: Path, move: Callable[..., ForeignSite], place: str
) -> None:
    if place == "sqlite":
        path = str(tmp_path / "django.db")
        settings, url = django_site.on_sql("sqlite3", path), f"sqlite:///{path}"
    elif place == "postgresql":
        database = new_database(request.getfixturevalue("postgresql_server"))
        settings = django_site.on_sql("postgresql", database.address)
        url = database.url.replace("postgresql+psycopg", "postgresql")
    else:
        url = request.getfixturevalue("end_to_end_redis").url
        settings = django_site.on_redis(url, "__main__.JSONSerializer")
    cookie = django_site.visit(settings, "/login").cookie
    assert cookie is not None
    ours = move(f"django+{url}", secret=django_site.SECRET, principal_key="_auth_user_id")
    response = ours.browser(cookie, "sessionid").get("/ignore")
    assert ours.names() == []  # nobody asked for the session
    browser = ours.browser(cookie, "sessionid")
    response = browser.get("/")
    assert seen(response) == ({**_DJANGO, "_auth_user_id": "7"}, "7", 24 * 3600.0)
    assert response.header("Set-Cookie") is not None
    assert django_site.visit(settings, "/show", cookie).body == {}  # moved, not copied
    ours.events.clear()
    browser.get("/logout")
    assert values(ours.browser(cookie, "sessionid").get("/")) == {}
    assert values(browser.get("/")) == {}
    assert "imported" not in ours.names()


@pytest.mark.parametrize(("expiry", "lifetime"), [(0, None), (300, 300.0)])
def test_the_expiry_that_was_set_in_django(
    end_to_end_redis: RedisServer,
    move: Callable[..., ForeignSite],
    expiry: int,
    lifetime: float | None,
) -> None:
    settings = django_site.on_redis(end_to_end_redis.url, "__main__.JSONSerializer")
    cookie = django_site.visit(settings, f"/login?expiry={expiry}").cookie
    assert cookie is not None
    ours = move(f"django+{end_to_end_redis.url}")
    assert seen(ours.browser(cookie, "sessionid").get("/"))[2] == lifetime


@pytest.mark.parametrize(
    ("expiry", "lifetime"),
    [
        (None, 1800.0),
        (0, None),
        (-1, None),
        (0.5, None),
        (float("nan"), None),
        (float("inf"), 315360000.0),
        (10**400, 315360000.0),
        ("1970-01-01T00:10:00+00:00", 500.0),
        ("1970-01-01T00:10:00", 500.0),
        ("1960-01-01T00:00:00+00:00", 1.0),
        ("9999-12-31T23:59:59+00:00", 1800.0),
    ],
)
def test_any_expiry_is_a_lifetime_that_a_cookie_can_have(
    expiry: object, lifetime: float | None
) -> None:
    assert django.lifetime(1800.0, lambda: 100.0, 1800.0)(expiry) == lifetime


@pytest.mark.parametrize("expiry", ["soon", "", [], {"a": 1}])
def test_invalid_expiries_are_refused(expiry: object) -> None:
    with pytest.raises(ImportRefused):
        django.lifetime(1800.0, lambda: 100.0, None)(expiry)


@pytest.mark.parametrize("text", ["", "[1", '{" u": 5}', '{" di": 5}', '{" b": "A"}', "[" * 9000])
def test_a_signed_cookie_of_nonsense_is_refused(text: str) -> None:
    payload = base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
    for body in (payload, b"." + payload):
        with pytest.raises(ImportRefused):
            flask_cookie.reader(1800.0)(body)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"\xc1",
        b"\x81",
        b"\x81\xa1a",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a" + b"\x91" * 9000,
        b"\x81\xa1a\xd7\xff" + b"\xff" * 8,  # a time out of range
    ],
)
def test_a_damaged_record_is_refused(payload: bytes) -> None:
    with pytest.raises(ImportRefused):
        flask_session.reader(1800.0, None)(payload)


def test_a_row_that_another_key_signed_is_refused(
    tmp_path: Path, move: Callable[..., ForeignSite]
) -> None:
    path = tmp_path / "django.db"
    settings = django_site.on_sql("sqlite3", str(path))
    cookie = django_site.visit(settings, "/login").cookie
    assert cookie is not None
    ours = move(f"django+sqlite:///{path}", secret="another")
    assert values(ours.browser(cookie, "sessionid").get("/")) == {}
    assert ours.names() == ["import-refused"]
    assert django_site.visit(settings, "/show", cookie).body["_auth_user_id"] == "7"  # left alone


# -- Flask's cookie --------------------------------------------------------------------------------


def test_a_user_of_flasks_cookie_stays_logged_in(move: Callable[..., ForeignSite]) -> None:
    cookie = flask_sites.in_cookie().login()
    assert_moves(move("flask-cookie://"), cookie, {**TAGGED, "note": "<b>hi</b>"})


def test_a_large_one_is_compressed(move: Callable[..., ForeignSite]) -> None:
    large = {"user_id": 7, "text": "tea " * 900}
    cookie = flask_sites.in_cookie(large).login()
    assert cookie.startswith(".")
    assert_moves(move("flask-cookie://"), cookie, large)


def test_another_spelling_of_a_cookie_is_the_same_session(move: Callable[..., ForeignSite]) -> None:
    """Base64 has several for one signature: none of them brings a dead session back."""
    cookie = flask_sites.in_cookie(PLAIN).login()
    site = move("flask-cookie://")
    browser = site.browser(cookie)
    browser.get("/")
    browser.get("/logout")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [cookie + "=", *(cookie[:-1] + last for last in alphabet)]
    for spelling in spellings:
        assert values(site.browser(spelling).get("/")) == {}


def test_a_cookie_ends_with_its_age(move: Callable[..., ForeignSite]) -> None:
    cookie = flask_sites.in_cookie(PLAIN).login()
    payload = cookie.split(".")[0]

    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return super().get_timestamp() - 3601

    old = Earlier(flask_sites.SECRET, salt="cookie-session", key_derivation="hmac").sign(payload)
    for age, found in (("1h", {}), ("2h", PLAIN)):
        site = move(f"flask-cookie://?max_age={age}")
        assert values(site.browser(old.decode()).get("/")) == found


def test_tags_that_flask_does_not_know_are_left() -> None:
    assert untag({" x": 1}) == {" x": 1}
    assert untag({" u": "0" * 32, " t": [1]}) == {" u": "0" * 32, " t": [1]}
    assert untag([{" u": UUID(int=1).hex}]) == [UUID(int=1)]


# -- what is sent by nobody's browser --------------------------------------------------------------

GARBAGE = [
    "",
    "x",
    "." * 3000,
    ".." + "/" * 40,
    "../../etc/passwd" + "a" * 30,
    "a" * 43,
    "a" * 300,
    "*" * 43,
    "session:{" + "a" * 64 + "}",
    "eyJhIjoxfQ.aaaaaa.AAAA",
    ".eJw.aaaaaa.AAAA",
    "a" * 5000,
    "é" * 43,
    "\xff" * 43,
    "a" * 32,
    "\\" * 60_000,
]


@pytest.mark.parametrize(
    "url",
    [
        "flask-session+{redis}",
        "flask-session+{redis}?signer=on",
        "django+{redis}?cookie=session",
        "flask-cookie://",
    ],
)
def test_garbage_is_anonymous(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite], url: str
) -> None:
    site = move(url.format(redis=end_to_end_redis.url))
    for value in GARBAGE:
        response = site.browser(value).get("/")
        assert values(response) == {}
        assert response.header("Set-Cookie") is None
    assert site.names() == []
    assert not [*site.stack.manager.backend.iteration.keys()]


def test_two_different_cookies_are_anonymous(
    end_to_end_redis: RedisServer, move: Callable[..., ForeignSite]
) -> None:
    theirs = flask_sites.in_redis(end_to_end_redis.url)
    site = move(f"flask-session+{end_to_end_redis.url}")
    cookies = f"session={theirs.login()}; session={theirs.login()}"
    assert values(Browser(site.stack).get("/", cookie=cookies)) == {}
    assert site.names() == ["ambiguous"]


def test_expired_sessions_are_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "django.db"
    row = django_site.visit(django_site.on_sql("sqlite3", str(path)), "/login").cookie
    assert row is not None
    file = flask_sites.in_files(tmp_path / "theirs").login()
    for url, header, days in (
        (f"django+sqlite:///{path}", f"sessionid={row}", 14),
        (flask_sites.import_url(tmp_path / "theirs"), f"session={file}", 31),
    ):
        for day, is_there in ((days - 1, True), (days + 1, False)):
            now = time.time() + day * 86400
            terms = ImportOptions((django_site.SECRET.encode(),), clock=lambda now=now: now)  # type: ignore[misc]
            importer = open_importer(url, terms)
            (name,) = importer.names(header)
            assert (importer.records.load(name) is not None) is is_there


# -- bounds ----------------------------------------------------------------------------------------


def test_after_the_last_day_nothing_is_imported(
    move: Callable[..., ForeignSite], caplog: pytest.LogCaptureFixture
) -> None:
    cookie = flask_sites.in_cookie(PLAIN).login()
    site = move("flask-session+file:///there/is/none", until=date(2024, 1, 1))  # gone by now
    assert values(site.browser(cookie).get("/")) == {}
    assert "remove `imports.source`" in caplog.text


def test_a_store_that_is_down_logs_no_user_out(move: Callable[..., ForeignSite]) -> None:
    with RedisServer() as server:
        cookie = flask_sites.in_redis(server.url).login()
        site = move(f"flask-session+{server.url}")
    response = site.browser(cookie).get("/")
    assert response.status == 503
    assert response.header("Set-Cookie") is None
    assert cookie not in "".join(map(str, site.events))
    for header in (None, "theme=dark", "session="):
        assert values(Browser(site.stack).get("/", cookie=header)) == {}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("shelve+redis://h", "unknown library"),
        ("flask-session+ftp://h", "no sessions can be read"),
        ("flask-session+redis://h/abc", "database"),
        ("flask-session+redis://h?signer=yes", "on or off"),
        ("flask-session+redis://h?signer=on", "IMPORT_SECRET_KEYS"),
        ("flask-session+redis://h?cookie=a;b", "cookie must be"),
        ("flask-session+redis://h?prefix=a&prefix=b", "twice"),
        ("flask-session+file:///there/is/none", "no folder"),
        ("django+sqlite:////x?table=a;drop", "SQL name"),
        ("flask-cookie://h", "write flask-cookie://"),
        ("flask-cookie://?max_age=0", "max_age must be"),
    ],
)
def test_a_wrong_url_stops_the_start(tmp_path: Path, url: str, why: str) -> None:
    config = Config(
        url=f"file://{tmp_path}",
        imports=ImportConfig(url, NEVER, () if "signer=on" in url else ("x",)),
    )
    with pytest.raises(ConfigurationError, match=why):
        build(application, config)


def test_a_last_day_is_required() -> None:
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_IMPORT_UNTIL"):
        Config.from_environ({"HOME": "/home/x", "WSGI_SESSIONS_IMPORT_FROM": "flask-cookie://"})
    config = Config.from_environ(
        {
            "HOME": "/home/x",
            "WSGI_SESSIONS_IMPORT_FROM": "flask-cookie://",
            "WSGI_SESSIONS_IMPORT_UNTIL": "2030-12-31",
            "WSGI_SESSIONS_IMPORT_SECRET_KEYS": "a, key\nan = earlier one",
        }
    )
    assert config.imports.source == "flask-cookie://"
    assert config.imports.until == date(2030, 12, 31)
    assert config.imports.secret_keys == ("a, key", "an = earlier one")


def test_the_urls_of_the_readme_are_accepted(tmp_path: Path) -> None:
    found = rows("`WSGI_SESSIONS_IMPORT_FROM`")
    for place in ("flask_session", "db.sqlite3"):
        path = tmp_path / place
        path.mkdir() if "." not in place else path.touch()
    (tmp_path / "data" / "container_file").mkdir(parents=True)
    for (url, *_), options in ((row, codes(row[2])) for row in found):
        here = codes(url)[0].replace("/srv", str(tmp_path))
        given = "&".join(option for option in options if "=" in option)
        open_importer(f"{here}?{given}", ImportOptions((b"x",))).records.close()
    assert {codes(row[0])[0].partition("+")[0].partition(":")[0] for row in found} == {
        "flask-session",
        "django",
        "flask-cookie",
        "pyramid-session-redis",
        "beaker",
        "pyramid-cookie",
    }


# -- the former cookie -------------------------------------------------------------------------


@pytest.fixture
def moving(
    move: Callable[..., ForeignSite], end_to_end_redis: RedisServer
) -> tuple[ForeignSite, str]:
    """A site that takes over a Flask-Session's sessions, and the cookie of a user there."""
    theirs = flask_sites.in_redis(end_to_end_redis.url)
    return move(f"flask-session+{end_to_end_redis.url}"), theirs.login()


def test_the_former_cookie_opens_the_session_until_ours_has_come_back(
    moving: tuple[ForeignSite, str],
) -> None:
    """By a page that only reads, too."""
    site, cookie = moving
    browser = site.browser(cookie)
    assert values(browser.get("/")) == PLAIN
    assert values(site.browser(cookie).get("/")) == PLAIN  # as a request that was under way
    assert values(browser.get("/")) == PLAIN

    for path in ("/", "/count"):
        thief = site.browser(cookie)
        response = thief.get(path)
        assert "count" not in values(browser.get("/"))
        assert values(response) == ({"count": 1} if path == "/count" else {})
        assert "Set-Cookie" not in dict(response.headers)
    assert "superseded" in site.names()
    assert values(browser.get("/")) == PLAIN


def test_a_log_out_by_a_request_with_the_former_cookie_reaches_the_session(
    moving: tuple[ForeignSite, str],
) -> None:
    site, cookie = moving
    browser = site.browser(cookie)
    browser.get("/")
    browser.get("/")
    site.browser(cookie).get("/logout")
    assert values(browser.get("/")) == {}


def test_a_store_that_takes_no_writes_keeps_no_imported_page_from_being_shown(
    moving: tuple[ForeignSite, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, cookie = moving
    browser = site.browser(cookie)
    browser.get("/")
    store = site.stack.manager.backend.sessions

    def full(*_: object, **__: object) -> int:
        raise StoreUnavailable("the disk is full", operation="save")

    with monkeypatch.context() as patched:
        patched.setattr(store, "save", full)
        assert values(browser.get("/")) == PLAIN
    assert "still opens with its former cookie" in caplog.text
    assert values(site.browser(cookie).get("/")) == PLAIN
    assert values(browser.get("/")) == PLAIN
    assert values(site.browser(cookie).get("/")) == {}
