"""From one store to another and back, by settings alone, while users go on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from http.client import HTTPException
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from command_line import run
from gunicorn_server import GunicornServer, HttpBrowser, store_of
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from store_urls import postgresql_url

from wsgi_sessions.migration.takeover_parts import remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USERS = 9
IDLE_USERS = 9
PREFIX = "moving:"


class MovingUser(threading.Thread):
    """Somebody who changes the session, one request after the other, until told to stop.

    `done` are the items whose request was answered, `unknown` those whose server died under them.
    """

    def __init__(self, server: GunicornServer) -> None:
        super().__init__(daemon=True)
        self.browser = server.browser()
        self.browser.get("/start")
        self.done: list[int] = []
        self.unknown: list[int] = []
        self.refused: Counter[int] = Counter()
        self._stopped = threading.Event()

    def run(self) -> None:
        item = 0
        while not self._stopped.is_set():
            item += 1
            try:
                reply = self.browser.get("/change", item=item)
            except ConnectionRefusedError:
                time.sleep(0.01)  # between two servers: nothing was sent
            except (OSError, HTTPException):
                self.unknown.append(item)
            else:
                if reply.status == 200:
                    self.done.append(item)
                else:
                    self.refused[reply.status] += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)

    def check(self) -> None:
        """Nothing lost, nothing done twice, never logged out, never refused."""
        values = self.browser.values()
        assert not self.refused, self.refused
        for stored in (values["log"], values["entries"]):
            assert len(set(stored)) == len(stored)
            assert set(self.done) <= set(stored) <= {*self.done, *self.unknown}
        assert len(self.done) <= values["count"] <= len(self.done) + len(self.unknown)
        assert values["count"] == len(values["entries"])


class MovingSite:
    """One server after the other, and the users who do not notice."""

    def __init__(self, url: str) -> None:
        self.server = self._serve(url)
        self.users = [MovingUser(self.server) for _ in range(USERS)]
        self.idle = [self.server.browser() for _ in range(IDLE_USERS)]
        for number, browser in enumerate(self.idle):
            assert browser.get("/login", user=f"user {number}").status == 200

    @staticmethod
    def _serve(url: str, **environ: str) -> GunicornServer:
        settings = {"WSGI_SESSIONS_KEY_PREFIX": PREFIX, "WSGI_SESSIONS_TIMEOUT": "10s", **environ}
        return GunicornServer(worker_class="gthread", url=url, environ=settings)

    def restart(self, url: str, **environ: str) -> None:
        """With other settings, which is all that changes."""
        self.server.stop()
        self.server = self._serve(url, **environ)
        for browser in self.browsers():
            browser.move_to(self.server)

    def browsers(self) -> Iterator[HttpBrowser]:
        yield from (user.browser for user in self.users)
        yield from self.idle

    def let_everybody_work(self, times: int = 3) -> None:
        """Until each user had so many more answers."""
        goals = [len(user.done) + times for user in self.users]
        wait_until(
            lambda: all(
                len(user.done) >= goal for user, goal in zip(self.users, goals, strict=True)
            ),
            "everybody to be served",
            60,
        )


def open_place(url: str) -> Any:
    return store_of(url, PREFIX, 10.0)


def move(site: MovingSite, old: str, new: str) -> None:
    """One migration, as the documents describe it."""
    site.restart(new, WSGI_SESSIONS_MIGRATE_FROM=old)
    site.let_everybody_work()
    moved = run(
        "copy",
        "--move",
        old,
        new,
        WSGI_SESSIONS_KEY_PREFIX=PREFIX,
        WSGI_SESSIONS_APPLICATION="tests",
    )
    assert moved.exit_code == 0, moved.stdout
    site.let_everybody_work()
    backend = open_place(old)
    assert list(remaining(backend)) == []
    backend.close()
    site.restart(new)
    site.let_everybody_work()


@pytest.fixture
def redis_url() -> Iterator[str]:
    require(available())
    with RedisServer() as server:
        yield server.url


@pytest.fixture
def urls(tmp_path: Path, redis_url: str) -> Callable[[str], str]:
    made: dict[str, str] = {"file": f"file://{tmp_path}/sessions", "redis": redis_url}

    def url(name: str) -> str:
        if name not in made:
            made[name] = postgresql_url()
        return made[name]

    return url


ROUND_TRIP = ["file", "redis", "postgresql", "file", "postgresql", "redis", "file"]


@pytest.mark.soak
@pytest.mark.parametrize(
    "stores",
    [["file", "redis"], ROUND_TRIP],
    ids=lambda stores: f"{len(stores) - 1} times",
)
def test_clients_do_not_notice_that_the_store_changes(
    stores: list[str], urls: Callable[[str], str]
) -> None:
    site = MovingSite(urls(stores[0]))
    try:
        for user in site.users:
            user.start()
        site.let_everybody_work()
        for old, new in pairwise(stores):
            move(site, urls(old), urls(new))
        for user in site.users:
            user.stop()
            user.check()
        for number, browser in enumerate(site.idle):
            found = browser.get("/read").json
            assert (found["new"], found["principal"]) == (False, f"user {number}")
        assert "Traceback" not in site.server.log(), site.server.log()
        last = open_place(urls(stores[-1]))
        assert last.iteration.count() == USERS + IDLE_USERS
        last.close()
    finally:
        for user in site.users:
            user.stop()
        site.server.stop()


def test_a_log_out_while_moving_is_dead_in_both_stores(urls: Callable[[str], str]) -> None:
    site = MovingSite(urls("file"))
    try:
        site.restart(urls("redis"), WSGI_SESSIONS_MIGRATE_FROM=urls("file"))
        keys = [browser.key for browser in site.idle]
        for browser in site.idle:
            thief = browser.twin()
            late = site.server.begin(browser, "/assign", key="k", value="v")  # has moved it
            assert browser.get("/logout").status == 200
            late.finish()
            assert thief.is_anonymous()
        for name in ("file", "redis"):
            backend = open_place(urls(name))
            assert [backend.sessions.load(key) for key in keys] == [None] * IDLE_USERS
            backend.close()
    finally:
        site.server.stop()
