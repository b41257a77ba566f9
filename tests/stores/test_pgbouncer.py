"""PostgreSQL behind PgBouncer, and what that asks of a connection: nothing may be the session's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, get_args

import databases
import psycopg
import pytest
from gunicorn_server import GunicornServer
from poolers import PoolMode, missing_pgbouncer, pgbouncer
from redis_servers import wait_until
from requirements_of_tests import require
from sqlalchemy import text

from wsgi_sessions.database.bump import open_sql_versions
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.backend import migrate_schema, open_sql
from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database
    from gunicorn_server import HttpBrowser, Reply
    from sqlalchemy import Connection

    from wsgi_sessions.contract import Backend

REQUESTS = 25


@pytest.fixture
def database() -> Database:
    """A PostgreSQL database with the tables."""
    database = databases.new_database(databases.shared_postgresql())
    migrate_schema(database.url)
    return database


@pytest.fixture
def key() -> str:
    return store_key(new_id())


def later() -> float:
    return time.time() + 1000


# -- a pooler in between -----------------------------------------------------------------------


def use_all(backend: Backend, number: int) -> None:
    """What requests do with a store, many times, so that statements would be prepared."""
    assert backend.leases is not None
    assert backend.versions is not None
    key = store_key(new_id())
    backend.sessions.create(key, b"0", later())
    for version in range(1, 12):
        with backend.locks.hold(key, 10.0):
            assert backend.sessions.save(key, b"1", later(), expected_version=version)
        backend.sessions.touch(key, later() + version)
        assert backend.sessions.load(key) is not None
    assert backend.leases.acquire(key, "holder", 30.0)
    assert not backend.leases.claim(key, "other", 30.0)
    backend.leases.release(key, "holder")
    backend.index.add(f"user {number}", key, later())
    assert backend.index.keys_of(f"user {number}") == [key]
    assert backend.versions.bump(f"scope {number}") == 1
    backend.sessions.delete(key)
    assert backend.sessions.load(key) is None


def test_a_store_works_behind_a_pooler_of_transactions(database: Database) -> None:
    """Twice as many threads as it has connections: their transactions take turns on them."""
    require(missing_pgbouncer())
    with (
        pgbouncer(database, "transaction", connections=3) as url,
        closing(open_sql(url, timeout=20.0)) as backend,
        ThreadPoolExecutor(6) as pool,
    ):
        list(pool.map(lambda number: use_all(backend, number), range(6)))
        assert open_sql_versions(url, timeout=20.0).current(["scope 1"]) == {"scope 1": 1}


@pytest.mark.soak
@pytest.mark.parametrize("mode", get_args(PoolMode))
def test_no_request_fails_under_load_behind_a_pooler(database: Database, mode: PoolMode) -> None:
    """Four threads in each of three workers, with every kind of change and a lock."""
    require(missing_pgbouncer())
    environ = {"WSGI_SESSIONS_TIMEOUT": "20", "WSGI_SESSIONS_EXCLUSIVE_WAITERS": "4"}
    with (
        pgbouncer(database, mode, connections=5 if mode == "transaction" else 80) as url,
        GunicornServer(worker_class="gthread", url=url, environ=environ) as server,
    ):
        browsers = [server.browser() for _ in range(3)]
        for browser in browsers:
            assert browser.get("/start").status == 200
        users = [browser.twin() for browser in browsers for _ in range(4)]
        with ThreadPoolExecutor(len(users)) as pool:
            replies = [reply for done in pool.map(load, users, range(12)) for reply in done]
        assert {reply.status for reply in replies} == {200}, server.log()
        for browser in browsers:
            values = browser.values()
            assert (values["count"], values["total"]) == (4 * REQUESTS, 4 * REQUESTS)
            assert len(values["entries"]) == 4 * REQUESTS


def load(browser: HttpBrowser, number: int) -> list[Reply]:
    replies = []
    for item in range(REQUESTS):
        replies.append(browser.get("/change", item=number * REQUESTS + item))
        replies.append(browser.get("/exclusive"))
        replies.append(browser.get("/read"))
    return replies


# -- a connection asks for nothing at its start ------------------------------------------------


@pytest.fixture
def engine(database: Database) -> Iterator[SqlEngine]:
    url = parse_sql_url(database.address)
    engine = SqlEngine(connect_sql(url, 0.7, create="nothing"), label="here", timeout=0.7)
    yield engine
    engine.close()


def limits(connection: Connection) -> list[str]:
    names = ("statement_timeout", "idle_in_transaction_session_timeout")
    return [str(connection.execute(text(f"SHOW {name}")).scalar()) for name in names]


def test_limits_are_of_a_transaction_and_not_of_the_connection(engine: SqlEngine) -> None:
    """What stays with a connection is met by the next client of a pooler."""
    assert engine.single("look", None, limits) == ["0", "0"]
    statement, idle = engine.run("look", None, limits)
    assert 0 < int(statement.removesuffix("ms")) <= 700
    assert idle not in ("0", statement)
    assert engine.single("look", None, limits) == ["0", "0"]


@contextmanager
def row_locked(database: Database, key: str) -> Iterator[psycopg.Connection]:
    """Somebody else's transaction holds the row of a session."""
    with psycopg.connect(database.address) as holder:
        holder.execute("SELECT 1 FROM wsgi_sessions WHERE key = %s FOR UPDATE", [key])
        yield holder


def active(database: Database) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE wsgi_sessions %'"
    ((number,),) = database.run(f"{query} AND datname = current_database() AND state = 'active'")
    return int(number)


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_a_statement_that_was_given_up_does_not_go_on_and_take_effect(
    database: Database, key: str, way: str
) -> None:
    require(missing_pgbouncer())
    with pgbouncer(database, "transaction", connections=2) as pooled:
        url = pooled if way == "pooled" else database.address
        with closing(open_sql(url, timeout=0.4)) as backend:
            wait_until(lambda: is_created(backend, key), "the first connection")
            with row_locked(database, key):
                with pytest.raises(StoreUnavailable, match="within the deadline"):
                    backend.sessions.save(key, b"late", later(), expected_version=1)
                wait_until(lambda: active(database) == 0, "the server to give it up")
            wait_until(lambda: version_of(backend, key) == 1, "an answer")


def is_created(backend: Backend, key: str) -> bool:
    try:
        backend.sessions.create(key, b"first", later())
    except StoreUnavailable:
        return False
    return True


def version_of(backend: Backend, key: str) -> int:
    record = backend.sessions.load(key)
    assert record is not None
    return record.version


def test_a_connection_on_which_a_statement_was_cancelled_is_not_used_again(
    database: Database, key: str
) -> None:
    with closing(open_sql(database.address, timeout=0.4)) as backend:
        wait_until(lambda: is_created(backend, key), "the first connection")
        before = backends_of(database)
        with row_locked(database, key), pytest.raises(StoreUnavailable):
            backend.sessions.save(key, b"late", later(), expected_version=1)
        assert version_of(backend, key) == 1
        assert not before & backends_of(database)


def backends_of(database: Database) -> set[int]:
    rows = database.run(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return {int(pid) for (pid,) in rows}


# Names are of a connection to the server, and behind a pooler other clients meet them.
@pytest.mark.parametrize("threshold", [None, 2, 20])
def test_statements_are_prepared_on_the_server_itself_unless_the_url_says_otherwise(
    database: Database, threshold: int | None
) -> None:
    query = "" if threshold is None else f"&prepare_threshold={threshold}"
    assert prepared_after_eight_uses(database.address + query) == (0 if threshold == 20 else 1)


@pytest.mark.parametrize("mode", get_args(PoolMode))
def test_no_statement_is_prepared_behind_a_pooler(database: Database, mode: PoolMode) -> None:
    require(missing_pgbouncer())
    with pgbouncer(database, mode, connections=1) as url:
        assert prepared_after_eight_uses(url) == 0


def prepared_after_eight_uses(url: str) -> int:
    engine = connect_sql(parse_sql_url(url), 5.0, create="nothing")
    with closing(engine.connect()) as connection:
        for _ in range(8):
            connection.execute(text("SELECT :n + 1"), {"n": 1})
        names = connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))
        number = names.scalar_one()
    engine.dispose()
    return int(number)


def test_a_threshold_that_is_not_a_number_stops_the_start(database: Database) -> None:
    with pytest.raises(ConfigurationError, match="prepare_threshold"):
        open_sql(f"{database.address}&prepare_threshold=often")


# -- several hosts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hosts",
    [
        "postgresql://{user}@127.0.0.1:1,127.0.0.1:{port}/{name}?target_session_attrs=read-write",
        "postgresql://{user}@/{name}?host=127.0.0.1:1&host=127.0.0.1:{port}",
        "postgresql://{user}@/{name}?host=127.0.0.1,127.0.0.1&port=1,{port}",
    ],
)
def test_one_of_several_hosts_that_answers_is_used(
    database: Database, key: str, hosts: str
) -> None:
    require(missing_pgbouncer())
    with pgbouncer(database, "session") as pooled:
        plain = parse_sql_url(pooled)
        url = hosts.format(user=plain.username, port=plain.port, name=plain.database)
        with closing(open_sql(url, timeout=10.0)) as backend:
            backend.sessions.create(key, b"1", later())
            assert backend.sessions.load(key) is not None
        stamps = open_sql_versions(url, timeout=10.0)
        assert stamps.current(["scope"]) == {"scope": 0}


def test_an_error_names_all_hosts_and_no_password() -> None:
    url = "postgres://ada:hidden@127.0.0.1:1,127.0.0.1:2/db?target_session_attrs=any"
    with closing(open_sql(url)) as backend, pytest.raises(StoreUnavailable) as caught:
        backend.sessions.ping()
    assert "PostgreSQL at 127.0.0.1:1,127.0.0.1:2/db" in str(caught.value)
    assert "hidden" not in str(caught.value)
