"""How long ``wsgi-sessions explain`` takes over a store of many sessions.

By the beginning of a key, by a user, and around a time; each for a store whose traces of ended
sessions are as many as it keeps. It is the command itself, in this process: settings, the opening
of the store and the output are part of it, Python's start is not.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING

from click.testing import CliRunner
from sqlalchemy import create_engine, event

from benchmarks.harness.places import Place, place
from benchmarks.harness.rounds import progress
from benchmarks.measures.console import CHUNK, DAY, DEVICES, records
from wsgi_sessions import open_backend
from wsgi_sessions.cli import main as command
from wsgi_sessions.core.endings.traces import MOST
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.database.connect import parse_sql_url
from wsgi_sessions.endings import VISITORS_SHARE, EndTrace
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stores.sql.backend import migrate_schema
from wsgi_sessions.stores.sql.schema import sessions

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend

TIMES = 9
SECRET = "s" * 40
KEPT = 500  # traces in one call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--stores", nargs="+", default=["files", "redis", "sqlite"])
    parser.add_argument("--folder", help="on the file system to measure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, place(folder) as here:
        results = {
            store: measure(url, arguments.sessions)
            for store, url in urls(here).items()
            if store in arguments.stores and url is not None
        }
    progress("")
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for store, result in results.items():
        told = ", ".join(f"by {way} {took['median']:.0f} ms" for way, took in result.items())
        print(f"{store}, {arguments.sessions:,d} sessions: {told}")


def urls(here: Place) -> dict[str, str | None]:
    database = None if here.postgresql is None else here.database("explain")
    return {
        "files": f"file://{here.part('explain')}",
        "redis": here.redis,
        "sqlite": f"sqlite:///{here.part('explain-sql')}/sessions.db",
        "postgresql": database,
    }


def measure(url: str, number: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way to ask: the median and the longest."""
    is_sql = not url.startswith(("file:", "redis:"))
    if is_sql:
        migrate_schema(url)
    backend = open_backend(url)
    keys = fill(backend, url, number, is_sql=is_sql)
    fill_traces(backend)
    for key in keys[:DEVICES]:
        backend.index.add("ada", key, time.time() + DAY)
    backend.close()
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - DAY / 4))
    ways = {
        "key": [short_key(keys[number // 2])],
        "user": ["--principal", "ada"],
        "time": ["--principal", "ada", "--at", at],
    }
    return {way: asked(url, arguments) for way, arguments in ways.items()}


def asked(url: str, arguments: list[str]) -> dict[str, float]:
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": SECRET}
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        result = CliRunner().invoke(command, ["explain", *arguments], env={**os.environ, **environ})
        took.append((time.perf_counter() - began) * 1000)
        assert result.exit_code == 0, result.output
        assert "session" in result.stdout, result.output
    return {"median": median(took), "longest": max(took)}


def fill(backend: Backend, url: str, number: int, *, is_sql: bool) -> list[str]:
    """Store so many sessions; return their keys."""
    keys: list[str] = []
    while len(keys) < number:
        rows = list(records(min(CHUNK, number - len(keys))))
        if is_sql:
            engine = create_engine(parse_sql_url(url))
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = OFF"))
            with engine.begin() as connection:
                connection.execute(sessions.insert(), rows)
            engine.dispose()
        else:
            for row in rows:
                backend.sessions.create(row["key"], row["payload"], row["expires_at"])
        keys += [row["key"] for row in rows]
        progress(f"{url.partition(':')[0]}: {len(keys)} of {number} sessions")
    return keys


def fill_traces(backend: Backend) -> None:
    """Keep as many traces as the sweeper leaves, some of them of ada."""
    assert backend.endings is not None
    now, user = time.time(), Pseudonyms(SECRET).of("ada")
    others = Pseudonyms(SECRET)
    traces = []
    for n in range(MOST + MOST // VISITORS_SHARE):
        of = None if n % (VISITORS_SHARE + 1) == 0 else user if n % 5000 == 1 else others.of(n)
        at = now - n * DAY / MOST
        commits = ((at - 2, "POST /cart"), (at - 1, "POST /cart"))
        key = store_key(new_id())
        traces.append(
            EndTrace(key, "logged-out", at, "request", "POST /logout", user=of, commits=commits)
        )
    for start in range(0, len(traces), KEPT):
        backend.endings.keep(traces[start : start + KEPT], 7 * DAY)
        progress(f"{backend.name}: {start} traces")


if __name__ == "__main__":
    main()
