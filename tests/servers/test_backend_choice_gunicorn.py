"""All workers of one server are on one store, whatever becomes of the stores and the workers."""

from __future__ import annotations

import os
import random
import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer, at_once
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KINDS = [pytest.param([], id="imported by each"), pytest.param(["--preload"], id="preloaded")]
BOOTS = 2  # of each kind; and in the long run
MANY_BOOTS = 50
PAUSE = 0.2  # seconds, at most, between two changes of a store that flaps


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as redis:
        yield redis


class WatchedServers:
    """A server on Redis or else files, and all that its workers ever said."""

    def __init__(self, redis: RedisServer, folder: Path, options: Sequence[str] = ()) -> None:
        self.said: dict[int, str] = {}
        self._server = GunicornServer(
            worker_class="sync",
            url=f"{redis.url} file://{folder}/sessions",
            app="choice_app:create()",
            environ={"WSGI_SESSIONS_CHOICE_FOLDER": str(folder / "choices")},
            options=options,
        )

    def ask_all(self) -> str:
        """The store that all workers of now are on, and all before them were."""
        self._server.wait_for_workers()
        workers = self._server.workers()
        wait_until(lambda: self._ask() >= set(workers), "all workers to answer", 30)
        assert len(set(self.said.values())) == 1, (self.said, self._server.log())
        return self.said[workers[0]]

    def kill(self, count: int) -> None:
        """kill -9 so many workers, and wait until there are others in their place."""
        killed = self._server.workers()[:count]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(killed) & set(self._server.workers()), "their end", 30)
        self._server.wait_for_workers()

    def reload(self) -> None:
        """Have gunicorn put new workers in the place of all."""
        before = set(self._server.workers())
        os.kill(self._server.pid, signal.SIGHUP)
        wait_until(lambda: not before & set(self._server.workers()), "the old workers' end", 30)
        self._server.wait_for_workers()

    def __enter__(self) -> WatchedServers:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _ask(self) -> set[int]:
        for reply in at_once(*[partial(self._server.browser().get, "/") for _ in range(6)]):
            self.said[reply.json["pid"]] = reply.json["backend"]
        return self.said.keys() & set(self._server.workers())


@contextmanager
def flapping(redis: RedisServer, chance: random.Random) -> Iterator[None]:
    """Redis comes and goes at random moments while in the context."""
    enough = threading.Event()
    pauses = random.Random(chance.random())

    def flap() -> None:
        while not enough.wait(pauses.uniform(0, PAUSE)):
            toggle(redis)

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def toggle(redis: RedisServer) -> None:
    if redis.is_running:
        redis.kill()
    else:
        redis.start()


def boot(redis: RedisServer, folder: Path, options: Sequence[str], seed: int) -> str:
    """Start a server, lose workers and reload while Redis flaps; on which store it was."""
    chance = random.Random(seed)
    if redis.is_running != (seed % 2 == 0):
        toggle(redis)
    with flapping(redis, chance):
        server = WatchedServers(redis, folder, options)
    with server:
        found = server.ask_all()
        with flapping(redis, chance):
            server.kill(chance.choice([1, 2, 3]))
        assert server.ask_all() == found
        if chance.random() < 0.2:
            with flapping(redis, chance):
                server.reload()
            assert server.ask_all() == found
    return found


@pytest.mark.parametrize(
    "options", [pytest.param([], id="imported by each", marks=pytest.mark.soak), KINDS[1]]
)
def test_workers_agree_while_redis_flaps(
    redis: RedisServer, tmp_path: Path, options: list[str]
) -> None:
    for seed in range(BOOTS):
        boot(redis, tmp_path, options, seed)


@pytest.mark.soak
@pytest.mark.parametrize("options", KINDS)
def test_workers_of_many_servers_agree(
    redis: RedisServer, tmp_path: Path, options: list[str]
) -> None:
    found = [boot(redis, tmp_path, options, 1000 + seed) for seed in range(MANY_BOOTS)]
    assert set(found) == {"redis", "file"}, "chance had no part in it"


@pytest.mark.soak
@pytest.mark.parametrize("options", [KINDS[0], ["--preload"]])
def test_a_choice_outlives_all_workers_and_ends_with_the_server(
    redis: RedisServer, tmp_path: Path, options: list[str]
) -> None:
    redis.kill()
    with WatchedServers(redis, tmp_path, options) as server:
        assert server.ask_all() == "file"
        redis.start()
        server.kill(3)  # for a moment there is none
        assert server.ask_all() == "file"
        server.reload()
        assert server.ask_all() == "file"
    with WatchedServers(redis, tmp_path, options) as server:
        assert server.ask_all() == "redis"
        redis.kill()
        server.kill(3)
        assert server.ask_all() == "redis"


@pytest.mark.soak
def test_a_new_server_joins_one_that_runs(redis: RedisServer, tmp_path: Path) -> None:
    """As in an upgrade without a gap."""
    with WatchedServers(redis, tmp_path) as old:
        assert old.ask_all() == "redis"
        redis.kill()
        with WatchedServers(redis, tmp_path, ["--preload"]) as new:
            assert new.ask_all() == "redis"
