"""What nobody can go below without giving up the store.

One open/read/close; read, write a temporary, replace; one redis-py ``GETEX``; ``GET`` and ``SET``;
a ``GET`` on a raw socket; one prepared ``SELECT``; ``SELECT`` and ``UPDATE`` in one transaction.
There is no lock, no check, no expiry and no session: each makes these calls on some hundred bytes.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.contestants.pages import OK
from benchmarks.contestants.table import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.harness.places import Place

PAYLOAD = b"x" * 300
COUNT = 200


class Operations(NamedTuple):
    """Of one store, each on one key."""

    begin: Callable[[str], object]
    read: Callable[[str], object]
    write: Callable[[str], object]


def _site(operations: Operations) -> Site:
    """Pages that make the calls and nothing else, and the calls themselves, over some keys."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        headers = [("Content-Type", "text/plain"), ("Content-Length", "2")]
        if path == "/new":
            key = secrets.token_hex(16)
            operations.begin(key)
            headers.append(("Set-Cookie", f"key={key}"))
        elif path in ("/read", "/write"):
            key = environ["HTTP_COOKIE"][4:]
            operations.read(key) if path == "/read" else operations.write(key)
        start_response("200 OK", headers)
        return [OK]

    keys = [secrets.token_hex(16) for _ in range(COUNT)]
    for key in keys:
        operations.begin(key)
    turn = itertools.cycle(keys).__next__
    calls = {
        "/read": lambda: operations.read(turn()),
        "/write": lambda: operations.write(turn()),
    }
    return Site(app, calls)


def files(place: Place) -> Site:
    """Plain files: open, read, close; and written beside, then put in place."""
    folder = place.part("floor")

    def write(key: str) -> None:
        temporary = f"{folder}/{key}.{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(PAYLOAD)
        os.replace(temporary, f"{folder}/{key}")

    def read(key: str) -> bytes:
        with open(f"{folder}/{key}", "rb") as file:
            return file.read()

    def read_and_write(key: str) -> None:
        read(key)
        write(key)

    return _site(Operations(write, read, read_and_write))


def redis_py(place: Place) -> Site:
    """redis-py as it is commonly used, hiredis installed."""
    import redis

    client = redis.Redis.from_url(str(place.redis))

    def write(key: str) -> None:
        client.set(key, PAYLOAD, ex=3600)

    def read_and_write(key: str) -> None:
        client.get(key)
        write(key)

    return _site(Operations(write, lambda key: client.getex(key, ex=3600), read_and_write))


def redis_socket(place: Place) -> Site:
    """One request written and one reply read, and nothing of it understood."""
    address = urlsplit(str(place.redis))
    local = threading.local()

    def ask(*words: bytes) -> None:
        if not hasattr(local, "socket"):
            local.socket = socket.create_connection((str(address.hostname), address.port or 6379))
            local.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        local.socket.sendall(b"*%d\r\n%s" % (len(words), parts))
        local.socket.recv(65536)

    def begin(key: str) -> None:
        ask(b"SET", key.encode(), PAYLOAD, b"EX", b"3600")

    def read(key: str) -> None:
        ask(b"GET", key.encode())

    def read_and_write(key: str) -> None:
        read(key)
        begin(key)

    return _site(Operations(begin, read, read_and_write))


def sqlite(place: Place) -> Site:
    """The sqlite3 module: write-ahead log, synchronous=NORMAL."""
    path = f"{place.part('floor-sqlite')}/floor.db"
    local = threading.local()

    def connection() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(path, timeout=20, isolation_level=None)
            local.connection.execute("PRAGMA journal_mode=WAL")
            local.connection.execute("PRAGMA synchronous=NORMAL")
            table = "CREATE TABLE IF NOT EXISTS floor (key TEXT PRIMARY KEY, data BLOB)"
            local.connection.execute(table)
        found: sqlite3.Connection = local.connection
        return found

    def begin(key: str) -> None:
        connection().execute("INSERT INTO floor VALUES (?, ?)", (key, PAYLOAD))

    def read(key: str) -> None:
        connection().execute("SELECT data FROM floor WHERE key = ?", (key,)).fetchone()

    def read_and_write(key: str) -> None:
        open_connection = connection()
        open_connection.execute("BEGIN IMMEDIATE")
        read(key)
        open_connection.execute("UPDATE floor SET data = ? WHERE key = ?", (PAYLOAD, key))
        open_connection.execute("COMMIT")

    return _site(Operations(begin, read, read_and_write))


def postgresql(place: Place) -> Site:
    """psycopg, which prepares what it repeats; autocommit for reading."""
    import psycopg

    url, local = place.database("floor"), threading.local()
    with psycopg.connect(url, autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(1)")
        first.execute("CREATE TABLE IF NOT EXISTS floor (key TEXT PRIMARY KEY, data BYTEA)")

    def connection() -> Any:
        if not hasattr(local, "connection"):
            local.connection = psycopg.connect(url, autocommit=True)
        return local.connection

    def begin(key: str) -> None:
        connection().execute("INSERT INTO floor VALUES (%s, %s)", (key, PAYLOAD))

    def read(key: str) -> None:
        connection().execute("SELECT data FROM floor WHERE key = %s", (key,)).fetchone()

    def read_and_write(key: str) -> None:
        with connection().transaction():
            read(key)
            connection().execute("UPDATE floor SET data = %s WHERE key = %s", (PAYLOAD, key))

    return _site(Operations(begin, read, read_and_write))
