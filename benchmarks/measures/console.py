"""How long the console's page takes to open over a store of many sessions.

Each opening is the first one of a console: it has no sample yet. Beside it are the page of a user,
and that of one session, found by the beginning of its key.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Raw
from sqlalchemy import create_engine
from werkzeug.test import Client

from benchmarks.harness.places import Place, place
from benchmarks.harness.rounds import progress
from wsgi_sessions import Config, open_backend
from wsgi_sessions.console.admission import Admission
from wsgi_sessions.console.app import Console
from wsgi_sessions.console.view import View
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope, seal
from wsgi_sessions.core.record.history import NO_COMMITS, Commit, with_commit
from wsgi_sessions.database.connect import parse_sql_url
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.stack.store import open_store
from wsgi_sessions.stores.sql.backend import migrate_schema
from wsgi_sessions.stores.sql.schema import sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend

CHUNK = 10_000
OPENINGS = 9
DEVICES = 10
DAY = 86400.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--stores", nargs="+", default=["files", "redis", "postgresql"])
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
        told = ", ".join(f"{page} {took['median']:.0f} ms" for page, took in result.items())
        print(f"{store}, {arguments.sessions:,d} sessions: {told}")


def urls(here: Place) -> dict[str, str | None]:
    database = None if here.postgresql is None else here.database("console")
    return {"files": f"file://{here.part('console')}", "redis": here.redis, "postgresql": database}


def measure(url: str, number: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each page: the median and the longest."""
    if url.startswith("postgresql"):
        migrate_schema(url)
    backend = open_backend(url)
    keys = fill(backend, url, number)
    for key in keys[:DEVICES]:
        backend.index.add("ada", key, time.time() + DAY)
    config = Config(url=url, secret_keys=("s" * 40,))
    pages = {
        "page": "/console/",
        "user": "/console/user?principal=ada",
        "session": f"/console/session?key={short_key(keys[number // 2])}",
    }
    return {name: opened(config, path) for name, path in pages.items()}


def opened(config: Config, path: str) -> dict[str, float]:
    took = []
    for _ in range(OPENINGS):
        backend = open_store(config, "look").backend
        client = Client(Console(View(backend, config), Admission("token")))
        client.get("/console/?token=token")
        began = time.perf_counter()
        response = client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, response.text
        assert "status bad" not in response.text, response.text
        backend.close()
    return {"median": median(took), "longest": max(took)}


def fill(backend: Backend, url: str, number: int) -> list[str]:
    """Store so many sessions; return their keys."""
    keys: list[str] = []
    while len(keys) < number:
        rows = list(records(min(CHUNK, number - len(keys))))
        if url.startswith("postgresql"):
            engine = create_engine(parse_sql_url(url))
            with engine.begin() as connection:
                connection.execute(sessions.insert(), rows)
            engine.dispose()
        else:
            for row in rows:
                backend.sessions.create(row["key"], row["payload"], row["expires_at"])
        keys += [row["key"] for row in rows]
        progress(f"{url.partition(':')[0]}: {len(keys)} of {number} sessions")
    return keys


def records(number: int) -> Iterator[dict[str, Any]]:
    now = time.time()
    for n in range(number):
        key, at = store_key(new_id()), now - random.uniform(0, DAY / 2)
        metadata = {PRINCIPAL: Raw(encode("ada"))} if n % 3 else {}
        data = {"cart": Raw(encode(["item"] * (n % 20))), "seen": Raw(encode(at))}
        envelope = Envelope(
            at, with_commit(NO_COMMITS, Commit(at, b"12345678", "POST /cart")), metadata, data
        )
        yield {"key": key, "version": 1, "expires_at": now + DAY, "payload": seal(envelope, key)}


if __name__ == "__main__":
    main()
