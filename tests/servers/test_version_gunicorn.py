"""Version stamps under gunicorn with several workers: one refresh, whoever comes at once."""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from databases import DATABASES, new_database, postgresql
from gunicorn_server import GunicornServer, at_once, store_of
from spreads import SPREAD
from sqlalchemy import delete
from version_app import CALLS, DATA

from wsgi_sessions import SYSTEM_SETTINGS, bump_version
from wsgi_sessions.stores.sql.schema import versions as table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gunicorn_server import HttpBrowser, Reply

    from wsgi_sessions.contract import Backend

PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
AT_ONCE = 50
# How many requests are under way at a time for certain, also if one worker takes most of them
# (which one with a single thread cannot).
CAPACITY = {"sync": 3, "gthread": 4, "gevent": AT_ONCE}
_numbers = itertools.count()


class League:
    """A server, the data behind it, and its store as the loader's process sees it."""

    def __init__(self, server: GunicornServer, folder: Path, prefix: str) -> None:
        self.server = server
        self.folder = folder
        self.player = f"player{next(_numbers)}"
        self.backend: Backend = store_of(server.url, prefix)
        self.rename("old")

    def rename(self, name: str) -> None:
        (self.folder / self.player).write_text(name)

    def bump(self, scope: str = "global") -> None:
        assert self.backend.versions is not None
        self.backend.versions.bump(scope)

    def browser(self) -> HttpBrowser:
        """Somebody who has just logged in."""
        browser = self.server.browser()
        browser.headers.update(PAGE)
        assert browser.get("/login", player=self.player).status == 200
        # Whichever worker it was: from here on the session bears stamps.
        assert browser.get("/").status == 200
        (self.folder / "calls").write_text("")
        self.server.forget_events()
        return browser

    def calls(self) -> int:
        """How often the hook was called for this player."""
        return (self.folder / "calls").read_text().split().count(self.player)

    def is_alive(self, browser: HttpBrowser) -> bool:
        return self.backend.sessions.load(browser.key) is not None


@pytest.fixture(scope="module", params=SPREAD, ids="-".join)
def started(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    store_url: Callable[[str], str | None],
) -> Iterator[tuple[GunicornServer, Path, str]]:
    store, worker_class = request.param
    folder = tmp_path_factory.mktemp("players")
    url = store_url(store)
    prefix = f"versions-{worker_class}:"
    environ = {
        "WSGI_SESSIONS_KEY_PREFIX": prefix,
        "WSGI_SESSIONS_VERSION_SCOPES": "global,player:{principal}",
        "WSGI_SESSIONS_VERSION_REQUIRED": "name",
        "WSGI_SESSIONS_VERSION_REFRESH": "version_app:renew",
        "WSGI_SESSIONS_VERSION_MAX_AGE": "0",
        "WSGI_SESSIONS_EXCLUSIVE_WAITERS": "50",
        "WSGI_SESSIONS_LOGIN_URL": "/login",
        DATA: str(folder),
        CALLS: str(folder / "calls"),
    }
    with GunicornServer(
        worker_class=worker_class, url=url, app="version_app:create()", environ=environ
    ) as server:
        yield server, folder, prefix


@pytest.fixture
def league(started: tuple[GunicornServer, Path, str]) -> Iterator[League]:
    league = League(*started)
    yield league
    league.backend.close()


def load_at_once(league: League, browser: HttpBrowser, number: int, **headers: str) -> list[Reply]:
    """Requests of one session, of which as many as the workers can take overlap."""
    gate = league.server.gate().query(min(number, CAPACITY[league.server.worker_class]))
    twins = [browser.twin() for _ in range(number)]
    for twin in twins:
        twin.headers.update(headers)
    return at_once(*[partial(twin.get, "/", **gate) for twin in twins])


def test_many_page_loads_after_a_bump_refresh_once(league: League) -> None:
    browser = league.browser()
    cookie = browser.cookie
    for scope in ("global", f"player:{league.player}"):
        before = league.calls()
        league.rename(f"after {scope}")
        league.bump(scope)
        replies = load_at_once(league, browser, AT_ONCE)
        assert [r.json["values"]["name"] for r in replies] == [f"after {scope}"] * AT_ONCE
        assert league.calls() == before + 1
        if league.server.worker_class == "sync":
            assert len({r.json["pid"] for r in replies}) == 3, "all workers took part"
        assert [r.set_cookies for r in replies] == [[]] * AT_ONCE
    assert browser.cookie == cookie
    assert len(league.server.events("version-refreshed")) == 2


def test_scripts_refresh_nothing(league: League) -> None:
    browser = league.browser()
    league.rename("new")
    league.bump()
    replies = load_at_once(league, browser, AT_ONCE, **SCRIPT)
    assert {r.json["values"]["name"] for r in replies} == {"old"}
    assert league.calls() == 0


def test_a_deleted_player_is_logged_out_everywhere(league: League) -> None:
    browser = league.browser()
    (league.folder / league.player).unlink()
    league.bump()
    replies = load_at_once(league, browser, 20)
    assert league.calls() == 1
    assert not league.is_alive(browser)
    for reply in replies:  # late ones find no session any more
        if reply.status != 302:
            assert reply.json["values"] == {}
    locations = [r.headers["Location"] for r in replies if r.status == 302]
    assert {location.partition("%3F")[0] for location in locations} == {"/login?next=/"}
    deletions = [cookie for reply in replies for cookie in reply.set_cookies]
    assert deletions  # by the one that ended it, and by those that came when it was over
    assert all("Max-Age=0" in cookie for cookie in deletions)
    assert browser.twin().get("/").json["values"] == {}
    (event,) = league.server.events("version-ended")
    assert "hook returned None" in event["why"]


def test_a_database_restored_from_a_backup_refreshes_once(league: League) -> None:
    for _ in range(3):
        league.bump(f"player:{league.player}")
    browser = league.browser()
    _forget(league)
    replies = [browser.get("/") for _ in range(6)]
    assert [r.status for r in replies] == [200] * 6
    assert league.calls() == 1


def _forget(league: League) -> None:
    """Put the player's version back to what it was."""
    versions: Any = league.backend.versions
    scope = f"player:{league.player}"
    if league.backend.name == "file":
        os.unlink(versions._path(scope))
    elif league.backend.name in DATABASES:
        row = delete(table).where(table.c.scope == scope)
        versions._engine.run("forget", None, lambda connection: connection.execute(row))
    else:
        name = versions._keys.versions
        versions._executor.execute("forget", None, "HDEL", name, scope)
    assert versions.current([scope]) == {scope: 0}


def test_each_page_load_compares_and_nothing_more(league: League) -> None:
    browser = league.browser()
    record = league.backend.sessions.load(browser.key)
    for _ in range(9):
        assert browser.get("/").json["values"]["name"] == "old"
    assert league.calls() == 0
    assert league.backend.sessions.load(browser.key) == record


# -- the loader's own database -----------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("store", ["file", "redis"])
def test_a_loader_in_postgresql_and_sessions_elsewhere(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("end_to_end_redis").url if store == "redis" else None
    with postgresql() as cluster:
        database = new_database(cluster)
        database.run(
            "CREATE TABLE system_settings (key TEXT PRIMARY KEY, value TEXT, description TEXT,"
            " created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ)"
        )
        database.run("INSERT INTO system_settings VALUES ('session_version', '7')")
        database.run("CREATE TABLE players (id TEXT PRIMARY KEY, name TEXT)")
        database.run("INSERT INTO players VALUES ('p', 'old')")
        environ = {
            "WSGI_SESSIONS_VERSION_URL": database.address,
            "WSGI_SESSIONS_VERSION_TABLE": "system_settings",
            "WSGI_SESSIONS_VERSION_REFRESH": "version_app:renew",
            "WSGI_SESSIONS_VERSION_MAX_AGE": "0",
            "WSGI_SESSIONS_EXCLUSIVE_WAITERS": "50",
            "WSGI_SESSIONS_TIMEOUT": "5s",
            DATA: database.address,
            CALLS: str(tmp_path / "calls"),
        }
        with GunicornServer(
            worker_class="gthread", url=url, app="version_app:create()", environ=environ
        ) as server:
            browser = server.browser()
            browser.headers.update(PAGE)
            browser.get("/login", player="p")
            browser.get("/")
            with psycopg.connect(database.address) as loader:
                loader.execute("UPDATE players SET name = 'new'")
                assert bump_version(loader, table=SYSTEM_SETTINGS) == 8
                assert {browser.get("/").json["values"]["name"] for _ in range(6)} == {"old"}
                loader.rollback()
                assert {browser.get("/").json["values"]["name"] for _ in range(6)} == {"old"}
                loader.execute("UPDATE players SET name = 'new'")
                bump_version(loader, table=SYSTEM_SETTINGS)
                loader.commit()
            (tmp_path / "calls").write_text("")
            replies = at_once(*_gets(browser, AT_ONCE))
            assert {reply.json["values"]["name"] for reply in replies} == {"new"}
            assert (tmp_path / "calls").read_text() == "p\n"
            assert "Traceback" not in server.log()


def _gets(browser: HttpBrowser, number: int) -> list[Any]:
    return [partial(browser.twin().get, "/") for _ in range(number)]
