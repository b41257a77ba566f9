"""Metrics of real servers: the sum over all workers is what the clients counted."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol

import pytest
from gunicorn_server import WORKER_CLASSES, GunicornServer, HttpBrowser
from redis_servers import wait_until
from requirements_of_tests import require
from scraped import Scrape
from wsgi_servers import missing, running

if TYPE_CHECKING:
    from pathlib import Path

    from gunicorn_server import WorkerClass

PATHS = {"/none": "untouched", "/read": "read", "/naive": "changed"}
KILLS = 3
CLIENTS = 4


class Asked(Protocol):
    """A server that browsers can ask."""

    def browser(self) -> HttpBrowser: ...


class Tally:
    """What the clients of a server know: answers, and requests of which they got none."""

    def __init__(self, server: Asked) -> None:
        self._server = server
        self.answered: Counter[str] = Counter()
        self.unknown = 0

    def load(self, rounds: int) -> None:
        """Some clients at once, each with a session of its own."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for answered, unknown in pool.map(self._client, [rounds] * CLIENTS):
                self.answered += answered
                self.unknown += unknown

    def _client(self, rounds: int) -> tuple[Counter[str], int]:
        browser, answered, unknown = self._server.browser(), Counter[str](), 0
        while browser.cookie is None:
            with suppress(OSError, HTTPException):
                if browser.get("/start").status == 200:
                    answered["created"] += 1
        for number in range(rounds):
            path = list(PATHS)[number % len(PATHS)]
            try:
                status = browser.get(path).status
            except (OSError, HTTPException):
                unknown += 1
                continue
            assert status == 200
            answered[PATHS[path]] += 1
        return answered, unknown

    def scraped(self) -> dict[str, float]:
        """The requests that the server counted, by use."""
        return self._scrape().of("requests_total")

    def agrees(self) -> bool:
        """A request is counted when its body is closed, a moment after its client has it all."""
        found = self._scrape()
        commits = found.of("commits_total")
        known = {"created": self.answered["created"], "saved": self.answered["changed"]}
        return found.of("requests_total") == dict(self.answered) and commits == known

    def _scrape(self) -> Scrape:
        while True:
            with suppress(OSError, HTTPException):
                reply = self._server.browser().get("/metrics")
                assert reply.status == 200, reply
                return Scrape(reply.body.decode())


def served(
    kind: WorkerClass, folder: Path, *options: str, app: str = "race_app:create()"
) -> GunicornServer:
    environ = {
        "WSGI_SESSIONS_METRICS_PATH": "/metrics",
        "WSGI_SESSIONS_CHOICE_FOLDER": f"{folder}/run",
    }
    return GunicornServer(worker_class=kind, environ=environ, options=options, app=app)


@pytest.mark.soak
@pytest.mark.parametrize("kind", WORKER_CLASSES)
def test_sums_are_exact_over_restarts_and_kills(kind: WorkerClass, tmp_path: Path) -> None:
    """To the last request, as no request is under way when a worker is killed."""
    options = ("--max-requests", "30", "--max-requests-jitter", "10")
    with served(kind, tmp_path, *options) as server:
        tally, seen = Tally(server), set(server.workers())
        for _ in range(2):
            tally.load(30)
            seen |= set(server.workers())
            wait_until(tally.agrees, f"{dict(tally.answered)}, not {tally.scraped()}", 20)
            os.kill(random.choice(server.workers()), signal.SIGKILL)
            server.wait_for_workers()
            seen |= set(server.workers())
        wait_until(tally.agrees, f"{dict(tally.answered)}, not {tally.scraped()}", 20)
        assert len(seen) > 4, "workers have ended, by themselves and killed"


@pytest.mark.soak
def test_kills_under_load_lose_what_was_under_way_at_most(tmp_path: Path) -> None:
    """A killed worker may have answered and not yet counted, or counted and not yet answered."""
    with served("gthread", tmp_path) as server, ThreadPoolExecutor(1) as pool:
        tally = Tally(server)
        for _ in range(KILLS):
            loaded = pool.submit(tally.load, 80)
            time.sleep(0.2)
            os.kill(random.choice(server.workers()), signal.SIGKILL)
            server.wait_for_workers()
            loaded.result()
        time.sleep(0.5)  # what is counted late, by workers that live
        counted, answered = sum(tally.scraped().values()), tally.answered.total()
        assert answered - KILLS * CLIENTS <= counted <= answered + tally.unknown + CLIENTS


@pytest.mark.soak
def test_forks_of_a_preloaded_application_are_one_server(tmp_path: Path) -> None:
    with served("sync", tmp_path, "--preload", app="race_app:create()") as server:
        tally = Tally(server)
        tally.load(30)
        wait_until(tally.agrees, "the sum", 20)
        server_folders = list((tmp_path / "run" / "metrics").iterdir())
        assert len(server_folders) == 1
        assert f"-{server.pid}-" in server_folders[0].name


@pytest.mark.soak
@pytest.mark.parametrize("name", ["uwsgi", "waitress", "granian"])
def test_other_servers(name: str, tmp_path: Path) -> None:
    """uWSGI forks without Python's hooks, granian spawns its workers."""
    require(missing(name))
    environ = {
        "WSGI_SESSIONS_METRICS_PATH": "/metrics",
        "WSGI_SESSIONS_CHOICE_FOLDER": f"{tmp_path}/run",
        "WSGI_SESSIONS_METRICS_READERS": "all",
    }
    with running(name, environ) as server:
        tally = Tally(server)
        before = tally.scraped().get("untouched", 0)  # asked until it answered
        tally.load(30)
        tally.answered["untouched"] += int(before)
        wait_until(lambda: tally.scraped() == dict(tally.answered), "the sum", 20)
