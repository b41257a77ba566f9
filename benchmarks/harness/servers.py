"""Contestants under gunicorn: three workers, and sessions that are used from outside."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn_server import GunicornServer, WorkerClass

from benchmarks.contestants.table import BY_NAME, Contestant
from benchmarks.harness.load import ask_all, cookie_of, request_bytes
from benchmarks.harness.places import Place
from benchmarks.harness.rounds import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

WORKERS = 3
NAME = "BENCHMARK_CONTESTANT"


class Server:
    """A contestant under gunicorn. A context manager."""

    def __init__(
        self, contestant: Contestant, place: Place, worker_class: WorkerClass, threads: int = 4
    ) -> None:
        environ = {**place.environ(), NAME: contestant.name}
        self.contestant = contestant
        self.cookies: list[str] = []
        self._gunicorn = GunicornServer(
            worker_class=worker_class,
            app="benchmarks.harness.servers:create()",
            environ=environ,
            workers=WORKERS,
            options=("--threads", str(threads)) if worker_class == "gthread" else (),
        )
        self.port = self._gunicorn.port

    def log_in(self, count: int) -> None:
        """Begin so many sessions."""
        replies = ask_all(self.port, [request_bytes("/new")] * count, at_once=2 * WORKERS)
        found = [cookie_of(reply) for reply in replies]
        if None in found:
            raise RuntimeError(f"{self.contestant.name} began no session: {replies[0][:300]!r}")
        self.cookies += [cookie for cookie in found if cookie is not None]

    def pids(self) -> list[int]:
        """The workers' processes."""
        return self._gunicorn.workers()

    def cpu_seconds(self) -> float:
        """What the workers have computed so far, all threads."""
        return sum(map(_cpu_seconds, self.pids()))

    def close(self) -> None:
        """End it."""
        self._gunicorn.stop()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _cpu_seconds(pid: int) -> float:
    """From the scheduler, in nanoseconds there; a thread that has ended is not in it."""
    return sum(
        int(path.read_text().split()[0]) / 1e9
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def start_servers(
    stack: ExitStack,
    contestants: Iterable[Contestant],
    place: Place,
    worker_class: WorkerClass,
    threads: int = 4,
) -> dict[str, Server]:
    """All of them, ready; they end with the stack."""
    wanted = list(contestants)

    def start(contestant: Contestant) -> Server:
        server = stack.enter_context(Server(contestant, place, worker_class, threads))
        progress(f"{worker_class}: started {contestant.name}")
        return server

    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(start, wanted))
    return {server.contestant.name: server for server in started}


def create() -> Callable[..., Iterable[bytes]]:
    """What gunicorn calls in each worker."""
    app: Any = BY_NAME[os.environ[NAME]].build(Place.from_environ()).app
    return app  # type: ignore[no-any-return]
