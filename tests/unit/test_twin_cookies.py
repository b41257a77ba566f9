"""Several cookies of our name in one request: who logs in is logged in all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cookie_jar import Jar
from flask import Flask
from flask import session as flask_session
from watched import TEXT
from wsgi_client import call

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.http.cookies.twins import MOST_DELETIONS, MOST_LOOK_UPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Record

SECRET = "s" * 40
HOST = "app.example.test"


class TwinSite:
    """One application over several deploys: its sessions stay, its cookie's attributes change."""

    def __init__(self, **policy: Any) -> None:
        self.events: list[Any] = []
        self.loads = 0
        self.manager: Any = None
        self.deploy(**policy)

    def deploy(self, **policy: Any) -> None:
        config = Config(
            url="memory://",
            secret_keys=(SECRET,),
            sweep_interval=None,
            cookie=CookiePolicy(**{"secure": "always", **policy}),
        )
        self._adopt(config)
        self.manager = self.stack.sessions.manager = self.manager or self.stack.manager
        self._count_loads()

    def _adopt(self, config: Config) -> None:
        self.stack: Any = build(_page, config, on_event=self.events.append)

    def _count_loads(self) -> None:
        store = self.manager.backend.sessions
        load = type(store).load

        def counted(key: str) -> Record | None:
            self.loads += 1
            found: Record | None = load(store, key)
            return found

        store.load = counted

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.stack(environ, start_response)

    def end_all(self) -> None:
        for key in [*self.manager.backend.iteration.keys()]:
            self.manager.destroy(key)

    def share_sessions_with(self, other: TwinSite) -> None:
        self.manager = self.stack.sessions.manager = other.manager

    def names(self) -> list[str]:
        return [event.name for event in self.events]


class FlaskTwinSite(TwinSite):
    """The same as a Flask application."""

    def _adopt(self, config: Config) -> None:
        app = Flask("twins")
        cookie = config.cookie
        app.config.update(
            SECRET_KEY=SECRET,
            WSGI_SESSIONS_URL="memory://",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_DOMAIN=cookie.domain,
            SESSION_COOKIE_PATH=cookie.path,
            SESSION_COOKIE_PARTITIONED=cookie.partitioned,
        )
        self.flask = WSGISessions(app)
        app.add_url_rule("/<path:path>", view_func=_view)
        served = app.extensions["wsgi_sessions"]
        self._app, self.stack = app, served.stack()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._app(environ, start_response)


def _view(path: str) -> str:
    what = path.rpartition("/")[2]
    if what == "login":
        flask_session["_user_id"] = "alice"
    elif what == "logout":
        flask_session.clear()
    elif what == "write":
        flask_session["n"] = flask_session.get("n", 0) + 1
    return str(flask_session.get("_user_id"))


def _page(environ: Any, start_response: Any) -> list[bytes]:
    session = get_session(environ)
    what = environ["PATH_INFO"].rpartition("/")[2]
    if what == "login":
        session.login(environ.get("QUERY_STRING") or "alice")
    elif what == "logout":
        session.flush()
    elif what == "write":
        session["n"] = session.get("n", 0) + 1
    elif what == "remember":
        session["n"] = session.get("n", 0) + 1
        session.remember(3600)
    start_response(environ.get("status", "200 OK"), [*TEXT])
    return [str(session.principal).encode()]


SITES = pytest.mark.parametrize("site_of", [TwinSite, FlaskTwinSite], ids=["plain", "Flask"])
DEPLOYS = {
    "Domain is set": ({}, {"domain": "example.test"}),
    "Domain is the host": ({}, {"domain": HOST}),
    "Domain is unset": ({"domain": "example.test"}, {}),
    "Domain is another one": ({"domain": "example.test"}, {"domain": HOST}),
    "Path is longer": ({}, {"path": "/app"}),
    "Path is shorter": ({"path": "/app"}, {}),
    "Path with a slash": ({"path": "/app"}, {"path": "/app/"}),
    "Path without a slash": ({"path": "/app/"}, {"path": "/app"}),
    "Path in between": ({"path": "/app/shop/"}, {"path": "/app"}),
    "Partitioned is set": ({}, {"partitioned": True}),
    "Partitioned is unset": ({"partitioned": True}, {}),
}
BOTH_WAYS = pytest.mark.parametrize(("before", "after"), DEPLOYS.values(), ids=DEPLOYS)


def holds_both(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether a browser still holds the cookie of before: a log-in deletes it on paths above."""
    return len(before.get("path", "/")) >= len(after.get("path", "/"))


def twins_of(jar: Jar) -> int:
    return jar.header("/app/shop/page").count("session=")


@SITES
@BOTH_WAYS
def test_after_a_deploy_that_changes_the_cookie_a_login_counts_at_the_next_request(
    site_of: Callable[..., TwinSite], before: dict[str, str], after: dict[str, str]
) -> None:
    site, jar = site_of(**before), Jar()
    jar.get(site, "/app/shop/write")
    site.deploy(**after)
    jar.get(site, "/app/shop/login")
    assert twins_of(jar) == 1 + holds_both(before, after)
    for _ in range(2):
        assert jar.get(site, "/app/shop/page").body == b"alice"
        assert twins_of(jar) == 1, "the dead one is deleted"
    assert jar.get(site, "/app/shop/logout").status == 200
    assert jar.get(site, "/app/shop/page").body == b"None"
    assert twins_of(jar) == 0
    assert "ambiguous" not in site.names()


@BOTH_WAYS
@pytest.mark.parametrize("logs_out", [True, False])
def test_a_user_logged_in_before_the_deploy_stays_so_until_another_user_logs_in(
    before: dict[str, str], after: dict[str, str], *, logs_out: bool
) -> None:
    site, jar = TwinSite(**before), Jar()
    jar.get(site, "/app/shop/login", QUERY_STRING="bob")
    site.deploy(**after)
    assert jar.get(site, "/app/shop/page").body == b"bob"
    if logs_out:
        jar.get(site, "/app/shop/logout")
        assert jar.get(site, "/app/shop/page").body == b"None"
    jar.get(site, "/app/shop/login", QUERY_STRING="alice")
    for _ in range(2):
        assert jar.get(site, "/app/shop/page").body == b"alice"
        assert twins_of(jar) == 1
    jar.get(site, "/app/shop/logout")
    assert jar.get(site, "/app/shop/page").body == b"None"


def two(site: TwinSite) -> tuple[Jar, Jar]:
    """Two visitors with a session each."""
    jars = Jar(), Jar()
    for jar, name in zip(jars, ("alice", "bob"), strict=True):
        jar.get(site, "/login", QUERY_STRING=name)
    return jars


def header_of(*jars: Jar) -> str:
    return "; ".join(jar.header("/") for jar in jars)


def visit(site: TwinSite, header: str, path: str = "/page", **more: Any) -> Any:
    return call(site, Jar().environ(path, HTTP_COOKIE=header, **more))


def cookies(response: Any) -> list[str]:
    return [value for name, value in response.headers if name == "Set-Cookie"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_cookie_with_a_live_session_counts(order: tuple[int, int]) -> None:
    site = TwinSite()
    jars = two(site)
    header = header_of(*(jars[i] for i in order))
    jars[0].get(site, "/logout")
    answer = visit(site, header)
    assert answer.body == b"bob"
    *deletions, own = cookies(answer)
    assert 0 < len(deletions) <= MOST_DELETIONS
    assert all("Max-Age=0" in deletion for deletion in deletions)
    assert own.partition(";")[0] == jars[1].header("/"), "written last, so no deletion removes it"
    assert "ambiguous" not in site.names()
    assert [v for k, v in answer.headers if k == "Cache-Control"] == ["private"]


def test_the_first_of_several_live_ones_counts_and_is_reported() -> None:
    site = TwinSite()
    alice, bob = two(site)
    for header, name in ((header_of(alice, bob), b"alice"), (header_of(bob, alice), b"bob")):
        site.events.clear()
        answer = visit(site, header)
        assert answer.body == name
        assert cookies(answer) == []
        (event,) = site.events
        assert (event.name, event.facts["alive"]) == ("ambiguous", 2)


def test_with_none_alive_the_visitor_is_anonymous_and_can_log_in() -> None:
    site, jar = TwinSite(domain="example.test"), Jar()
    jar.get(site, "/write")
    site.deploy()
    jar.get(site, "/login")
    first = jar.header("/")
    assert first.count("session=") == 2
    site.end_all()
    assert jar.get(site, "/page").body == b"None"
    jar.get(site, "/login", QUERY_STRING="bob")
    assert jar.get(site, "/page").body == b"bob"


def test_store_calls_are_few_and_only_where_there_are_twins() -> None:
    site = TwinSite()
    jars = [Jar() for _ in range(6)]
    for jar in jars:
        jar.get(site, "/write")
    for number, look_ups in ((1, 0), (2, 2), (3, 3), (6, MOST_LOOK_UPS)):
        header = header_of(*jars[:number])
        site.loads = 0
        visit(site, header)
        assert site.loads == 1 + look_ups
    site.loads = 0
    visit(site, f"{jars[0].header('/')}; session=x; session={'y' * 84}")
    assert site.loads == 1, "those that do not verify are not looked up"


def test_a_request_that_a_login_has_replaced_sends_no_deletion_either() -> None:
    site, jar = TwinSite(), Jar()
    jar.get(site, "/write")
    other = Jar()
    other.get(site, "/write")
    stale = f"{jar.header('/')}; {other.header('/')}"
    other.get(site, "/logout")
    jar.get(site, "/login")
    for path in ("/page", "/write"):
        answer = visit(site, stale, path)
        assert (answer.body, cookies(answer)) == (b"None", [])


@pytest.mark.parametrize("path", ["/page", "/write", "/remember"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_request_from_before_a_login_writes_no_other_living_cookie_over_it(
    path: str, order: tuple[int, int]
) -> None:
    """It is served by the session that is alive, but its answer may come last."""
    site = TwinSite()
    jars = Jar(), Jar()
    for jar in jars:
        jar.get(site, "/remember")
    stale = header_of(*(jars[i] for i in order))
    jars[0].get(site, "/login")
    answer = visit(site, stale, path)
    assert (answer.status, cookies(answer)) == (200, [])
    assert cookies(visit(site, stale, "/login")), "but for a log-in of its own"


def test_a_deletion_does_not_undo_a_login_that_overlaps_the_request() -> None:
    site, jar = TwinSite(domain="example.test"), Jar()
    jar.get(site, "/write")
    site.deploy()
    jar.get(site, "/login", QUERY_STRING="bob")
    environ = jar.environ("/page")
    assert environ["HTTP_COOKIE"].count("session=") == 2

    def overlapped(environ: Any, start_response: Any) -> list[bytes]:
        site.stack.sessions.app = _page
        answer = _page(environ, start_response)
        jar.get(site, "/login", QUERY_STRING="alice")
        return answer

    site.stack.sessions.app = overlapped
    jar.take(call(site, environ))
    assert jar.get(site, "/page").body == b"alice"


def test_a_response_that_takes_no_cookie_deletes_none() -> None:
    site = TwinSite()
    alice, bob = two(site)
    header = header_of(alice, bob)
    alice.get(site, "/logout")
    assert cookies(visit(site, header, status="304 Not Modified")) == []


@pytest.mark.parametrize("is_shared", [True, False], ids=["one store", "a store each"])
def test_two_applications_on_one_host_keep_their_logins(*, is_shared: bool) -> None:
    root, admin, jar = TwinSite(), TwinSite(path="/admin"), Jar()
    if is_shared:
        admin.share_sessions_with(root)
    jar.get(admin, "/admin/login", QUERY_STRING="admin")
    for _ in range(2):
        jar.get(root, "/login", QUERY_STRING="root")
        for _ in range(2):
            assert jar.get(admin, "/admin/page").body == b"admin"
            assert jar.get(root, "/page").body == b"root"
        jar.get(admin, "/admin/login", QUERY_STRING="admin")
        assert jar.get(admin, "/admin/page").body == b"admin"
        assert jar.get(root, "/page").body == b"root"
    jar.get(admin, "/admin/logout")
    assert jar.get(root, "/page").body == b"root"


def test_an_application_below_does_not_take_the_others_living_cookie_away() -> None:
    root, admin, jar = TwinSite(), TwinSite(path="/admin"), Jar()
    admin.share_sessions_with(root)
    jar.get(admin, "/admin/login", QUERY_STRING="admin")
    jar.get(root, "/login", QUERY_STRING="root")
    elsewhere = jar.environ("/admin/login", QUERY_STRING="admin")
    call(admin, elsewhere)
    assert jar.get(admin, "/admin/page").body == b"root"
    assert jar.get(root, "/page").body == b"root"


@pytest.mark.parametrize(
    "host", ["", "app.example.test:8443", "127.0.0.1:80", "[::1]:80", "x" * 300, 'a"b;c\r\nd', "é"]
)
@pytest.mark.parametrize("path", ["/", "/a;b/\r\n", "/a" * 3000, "//", "/é/x", "*"])
def test_whatever_host_and_path_are_the_headers_are_sound_and_small(host: str, path: str) -> None:
    site = TwinSite()
    alice, bob = two(site)
    header = header_of(alice, bob)
    alice.get(site, "/logout")
    answer = visit(site, header, path, HTTP_HOST=host)
    *deletions, own = cookies(answer)
    assert own.startswith(bob.header("/"))
    assert sum(map(len, deletions)) < 2500
    for deletion in deletions:
        assert deletion.isascii()
        assert deletion.isprintable()
        assert deletion.count("session=") == 1


def test_a_name_with_the_host_prefix_has_no_place_but_its_own() -> None:
    site = TwinSite(name="__Host-session")
    alice, bob = two(site)
    header = header_of(alice, bob)
    alice.get(site, "/logout")
    for cookie in cookies(visit(site, header, "/a/b")):
        assert "Domain" not in cookie
        assert "Path=/;" in cookie


def test_dead_cookies_beyond_the_limit_of_look_ups_are_cleared_away() -> None:
    """The living one is behind them: it counts after a few requests."""
    site, jar = TwinSite(), Jar()
    for path in ("/a/b/c", "/a/b", "/a"):
        site.deploy(path=path)
        once = Jar()
        once.get(site, "/a/b/c/write")
        jar.held.update(once.held)
    site.end_all()
    site.deploy()
    jar.get(site, "/a/b/c/login")
    assert jar.header("/a/b/c/page").count("session=") <= MOST_LOOK_UPS, "some are gone by now"
    assert jar.get(site, "/a/b/c/page").body == b"alice"
