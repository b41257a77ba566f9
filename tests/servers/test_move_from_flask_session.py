"""A Flask application moves from Flask-Session with two changed lines, and nobody notices."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask_sites import import_url
from gunicorn_server import GunicornServer
from moving_visitor import MovingVisitor
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gunicorn_server import WorkerClass
    from moving_visitor import Page

SECRET = "the-shop's-own-secret-which-is-long-enough"
WORKERS = 2
# What a worker's threads say of the store, whatever requests it has.
BY_WORKERS = (
    "operations fail at once until it answers again",
    "a sweep of the session store failed",
    "why sessions ended is not kept in the store",
)
FORMER = (Path(__file__).parents[1] / "support" / "former_site.py").read_text()
LINES = {
    "from flask_session import Session as ServerSideSessions": (
        "from wsgi_sessions.contrib.flask import WSGISessions"
    ),
    "    ServerSideSessions(app)": "    WSGISessions(app)",
}


def login(port: int, name: str, query: str = "") -> MovingVisitor:
    visitor = MovingVisitor()
    form = visitor.get(port, f"/login{query}").form
    page = visitor.post(port, f"/login{query}", form, item=name)
    assert (page.statuses, page.user, page.flashes) == ([302, 200], name, [f"welcome {name}"])
    return visitor


def put(port: int, visitor: MovingVisitor, form: dict[str, str], item: str) -> Page:
    page = visitor.post(port, "/", form, item=item)
    assert page.statuses == [302, 200]
    assert page.flashes == [f"put {item}"]
    return page


class Shop:
    """The shop under gunicorn, as it was and as it is after the move."""

    def __init__(
        self, folder: Path, environ: dict[str, str], worker_class: WorkerClass = "gthread"
    ) -> None:
        self._folder = folder
        self._worker_class = worker_class
        self._environ = {"SHOP_SECRET": SECRET, "PYTHONPATH": str(folder), **environ}

    @contextmanager
    def former(self) -> Iterator[GunicornServer]:
        unset = dict.fromkeys(["WSGI_SESSIONS_URL", "WSGI_SESSIONS_SECRET_KEYS"])
        with self._served(FORMER, unset) as server:
            yield server

    @contextmanager
    def moved(self, url: str, source: str) -> Iterator[GunicornServer]:
        program = FORMER
        for before, after in LINES.items():
            assert program.count(before) == 1
            program = program.replace(before, after)
        settings: dict[str, str | None] = {
            "WSGI_SESSIONS_URL": url,
            "WSGI_SESSIONS_SECRET_KEYS": None,  # the application has its own
            "WSGI_SESSIONS_IMPORT_FROM": source,
            "WSGI_SESSIONS_IMPORT_UNTIL": "2090-12-31",
        }
        with self._served(program, settings) as server:
            yield server

    @contextmanager
    def _served(self, program: str, environ: dict[str, str | None]) -> Iterator[GunicornServer]:
        (self._folder / "shop_site.py").write_text(program)
        with GunicornServer(
            worker_class=self._worker_class,
            workers=WORKERS,
            app="shop_site:create_app()",
            environ={**self._environ, **environ},
        ) as server:
            yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer(persistence="aof") as server:
        yield server


@pytest.mark.parametrize("kind", [pytest.param("redis", marks=pytest.mark.soak), "files"])
def test_clients_do_not_notice_the_move(kind: str, redis: RedisServer, tmp_path: Path) -> None:
    folder = tmp_path / "flask_session"
    old = {"redis": {"SHOP_REDIS": redis.url}, "files": {"SHOP_FOLDER": str(folder)}}[kind]
    source = f"flask-session+{redis.url}" if kind == "redis" else import_url(folder)
    url = redis.url if kind == "redis" else f"file://{tmp_path}/sessions"
    shop = Shop(tmp_path, old)
    with shop.former() as server:
        alice = login(server.port, "alice")
        form = alice.get(server.port, "/").form
        put(server.port, alice, form, "tea")
        bob = login(server.port, "bob", "?remember=1")
        forms = {who: who.get(server.port, "/").form for who in (alice, bob)}
        carol = MovingVisitor()
        at_login = carol.get(server.port, "/login").form  # a form that she has still to send
    if kind == "files":
        convert(source, url)
    with shop.moved(url, source) as server:
        port = server.port
        assert put(port, alice, forms[alice], "cup").cart == "tea,cup"
        assert put(port, bob, forms[bob], "pot").cart == "pot"
        assert put(port, alice, alice.get(port, "/").form, "jar").cart == "tea,cup,jar"
        assert carol.post(port, "/login", at_login, item="carol").user == "carol"
        bob.restart()
        assert bob.get(port, "/").user == "bob", "remembered"
        page = alice.post(port, "/logout", alice.get(port, "/").form)
        assert (page.statuses, page.user) == ([302, 200], "None")
        assert alice.get(port, "/").statuses == [302, 200]
        assert "Traceback" not in server.log(), server.log()


@pytest.mark.parametrize(
    "worker_class",
    ["gthread", "sync", "gevent"],
)
@pytest.mark.soak
def test_an_outage_after_the_move_costs_a_line_per_request(
    redis: RedisServer, tmp_path: Path, worker_class: WorkerClass
) -> None:
    shop = Shop(tmp_path, {"SHOP_REDIS": redis.url}, worker_class)
    with shop.former() as server:
        # Late's session is still the former one when the outage comes.
        alice, late = (login(server.port, name, "?remember=1") for name in ("alice", "late"))
    with shop.moved(redis.url, f"flask-session+{redis.url}") as server:
        for worker in server.workers():
            with server.only(worker):
                form = alice.get(server.port, "/").form
        before = dict(alice.cookies), dict(late.cookies)
        for break_it in (redis.pause, redis.kill):
            break_it()
            told = [line for visitor in (alice, late) for line in fail(server, visitor, form)]
            # A server that hangs is not said not to run, not even once it is not asked any more.
            assert break_it != redis.pause or not any("is it running" in line for line in told)
        assert (alice.cookies, late.cookies) == before, "nobody is logged out by it"
        redis.start()
        for worker in server.workers():
            with server.only(worker):
                for visitor in (alice, late):
                    wait_until(partial(is_served, server.port, visitor), "an answer", 20)
        assert [v.get(server.port, "/").user for v in (alice, late)] == ["alice", "late"]
        assert put(server.port, alice, form, "tea").cart == "tea"
        assert login(server.port, "new").get(server.port, "/").user == "new"
        assert "Traceback" not in server.log(), server.log()


def is_served(port: int, visitor: MovingVisitor) -> bool:
    return visitor.get(port, "/").statuses == [200]


def fail(server: GunicornServer, visitor: MovingVisitor, form: dict[str, str]) -> list[str]:
    """Have a visitor's requests fail, each with a 503 and one line of the log; these lines."""
    before, port = len(server.log()), server.port
    pages = [visitor.get(port, "/"), visitor.get(port, "/login")]
    pages += [visitor.post(port, path, form, item="lost") for path in ("/", "/logout")]
    assert {tuple(page.statuses) for page in pages} == {(503,)}
    lines = server.log()[before:].splitlines()
    told = [line for line in lines if not any(words in line for words in BY_WORKERS)]
    assert len(told) == len(pages), lines
    assert all(line.startswith("session unavailable") for line in told), lines
    for words in BY_WORKERS:
        by_workers = [line for line in lines if words in line]
        assert len(by_workers) <= WORKERS, "one more by each worker, once"
    return told


def convert(source: str, url: str) -> None:
    """Pickles are never read in a request."""
    words = ["import", "--allow-pickle", source, "--url", url]
    done = subprocess.run(
        [sys.executable, "-m", "wsgi_sessions", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
