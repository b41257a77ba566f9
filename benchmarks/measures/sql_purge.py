"""How long users wait while a million expired sessions are purged from SQL.

One process purges in chunks, as the sweeper does. Meanwhile another loads live sessions one after
the other, and a third saves one. Each tells its longest and its usual waits, which are measured
without the purge too: what the machine itself adds shows there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import databases
from sqlalchemy import create_engine

from benchmarks import ROOT
from wsgi_sessions.database.connect import parse_sql_url
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.backend import migrate_schema, open_sql
from wsgi_sessions.stores.sql.schema import sessions
from wsgi_sessions.stores.sweeper import CHUNK

LIVE = 1000
PAYLOAD = os.urandom(300)
QUIET_SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="expired sessions")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as", dest="role", choices=["reader", "writer"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        user(arguments.role, arguments.url)
        return
    results = {name: measure(name, arguments.rows) for name in databases.DATABASES}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for name, result in results.items():
        print(f"{name}: {result['rows']} rows purged in {result['seconds']:.0f} s")
        for role in ("reader", "writer"):
            for when in ("quiet", "purge"):
                waits = result[role][when]
                print(
                    f"  {role}, {when}: longest {waits['longest_ms']:.1f} ms, "
                    f"99.9 % {waits['p999_ms']:.1f} ms, median {waits['median_ms']:.2f} ms "
                    f"({waits['count']} operations)"
                )


def measure(name: str, rows: int) -> dict[str, Any]:
    """Purge `rows` expired sessions of one database while others use it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if name == "sqlite":
            url = databases.sqlite(folder).url
        else:
            server = stack.enter_context(databases.postgresql("at commits"))
            url = databases.new_database(server).address
        migrate_schema(url)
        fill(url, rows)
        users = [User(role, url) for role in ("reader", "writer")]
        time.sleep(QUIET_SECONDS)
        for one in users:
            one.begin("purge")
        started = time.monotonic()
        purged = purge(url)
        seconds = time.monotonic() - started
        assert purged == rows, purged
        return {"rows": rows, "seconds": seconds, **{one.role: one.end() for one in users}}


def fill(url: str, rows: int) -> None:
    """`rows` expired sessions and some live ones, in no order of their keys."""
    engine = create_engine(parse_sql_url(url))
    now = time.time()
    with engine.begin() as connection:
        for first in range(0, rows, 10_000):
            expiries = (
                now - 86400 + number / 100 for number in range(first, min(first + 10_000, rows))
            )
            connection.execute(sessions.insert(), [row(at) for at in expiries])
        connection.execute(sessions.insert(), [row(now + 86400) for _ in range(LIVE)])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def row(expires_at: float) -> dict[str, object]:
    key = store_key(new_id())
    return {"key": key, "version": 1, "payload": PAYLOAD, "expires_at": expires_at}


def purge(url: str) -> int:
    backend = open_sql(url, timeout=10.0)
    assert backend.expired is not None
    purged = 0
    while True:
        count = backend.expired.delete_expired(CHUNK)
        purged += count
        if count < CHUNK:
            backend.close()
            return purged


class User:
    """A process that uses the store all the time, and measures each wait."""

    def __init__(self, role: str, url: str) -> None:
        self.role = role
        command = [
            sys.executable,
            "-m",
            "benchmarks.measures.sql_purge",
            "--as",
            role,
            "--url",
            url,
        ]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def begin(self, phase: str) -> None:
        """From now on, waits are counted to this phase."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{phase}\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        out, _ = self._process.communicate("", timeout=60)
        found: dict[str, Any] = json.loads(out)
        return found


def user(role: str, url: str) -> None:
    """What a `User` runs."""
    backend = open_sql(url, timeout=10.0)
    keys = list(backend.iteration.keys())
    waits: dict[str, list[float]] = {"quiet": []}
    current = waits["quiet"]
    os.set_blocking(sys.stdin.fileno(), False)
    versions = dict.fromkeys(keys, 1)
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        key = keys[number % len(keys)]
        started = time.perf_counter()
        if role == "reader":
            assert backend.sessions.load(key) is not None
        else:
            expiry = time.time() + 86400
            versions[key] = backend.sessions.save(
                key, PAYLOAD, expiry, expected_version=versions[key]
            )
        current.append(time.perf_counter() - started)
        time.sleep(0.001)  # a user, and no load test: the machine has other things to do
        command = _command() if number % 20 == 0 else None
        if command == "":
            break
        if command:
            current = waits[command.strip()] = []
    backend.close()
    print(json.dumps({phase: summary(found) for phase, found in waits.items()}))


def _command() -> str | None:
    try:
        text = os.read(sys.stdin.fileno(), 100)
    except BlockingIOError:
        return None
    return text.decode()


def summary(waits: list[float]) -> dict[str, float]:
    waits = sorted(waits)
    return {
        "count": len(waits),
        "longest_ms": waits[-1] * 1000,
        "p999_ms": waits[int(len(waits) * 0.999)] * 1000,
        "median_ms": waits[len(waits) // 2] * 1000,
    }


if __name__ == "__main__":
    main()
