"""What is special to MariaDB and MySQL: a server that hangs, hangs up, or refuses a change."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import databases
import pytest
from database_servers import missing_mariadb
from gunicorn_server import GunicornServer
from requirements_of_tests import require
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from store_urls import mariadb_url

from wsgi_sessions.database.bump import open_sql_versions
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.errors import StoreUnavailable, VersionConflict, WriteInDoubt
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql import schema
from wsgi_sessions.stores.sql.backend import open_sql
from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from wsgi_sessions.contract import Backend

PATIENCE = 60
"""Seconds until a wait counts as one without a limit."""


@pytest.fixture(scope="module")
def url() -> str:
    """A MariaDB database with the tables."""
    require(missing_mariadb())
    return mariadb_url()


@pytest.fixture
def empty() -> str:
    """A MariaDB database without tables."""
    require(missing_mariadb())
    return databases.new_mariadb()


@pytest.fixture
def backend(url: str) -> Iterator[Backend]:
    with closing(open_sql(url, timeout=10.0)) as opened:
        yield opened


@pytest.fixture
def key() -> str:
    return store_key(new_id())


def later() -> float:
    return time.time() + 1000


def plain(url: str) -> Engine:
    return create_engine(parse_sql_url(url), poolclass=NullPool)


def ask(url: str, statement: str) -> Any:
    with plain(url).connect() as connection:
        result = connection.execute(text(statement))
        connection.commit()
        return result.scalar() if result.returns_rows else None


def kill_all(url: str) -> None:
    """The server hangs up on everybody else in this database, as an administrator or
    ``wait_timeout`` has it do."""
    with plain(url).connect() as connection:
        others = text(
            "SELECT id FROM information_schema.processlist "
            "WHERE id <> CONNECTION_ID() AND db = DATABASE()"
        )
        for (number,) in connection.execute(others).all():
            with suppress(DBAPIError):  # it has gone by itself
                connection.execute(text(f"KILL {number}"))


def in_time(do: Callable[[], object]) -> object:
    """What `do` returns or raises; a wait without a limit is a fault of its own."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(do).result(PATIENCE)
    finally:
        pool.shutdown(wait=False)


# -- a server that hangs -----------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["mariadb", pytest.param("mysql", marks=pytest.mark.soak)])
def test_a_server_that_hangs_is_waited_for_until_the_deadline(
    url: str, key: str, driver: str
) -> None:
    """On a connection that there is, and on one that would have to be made."""
    url = url.replace("mariadb:", f"{driver}:")
    with (
        closing(open_sql(url, timeout=1.0)) as warm,
        closing(open_sql(url, timeout=1.0)) as cold,
    ):
        warm.sessions.ping()
        with hanging():
            for backend in (warm, cold):
                with pytest.raises(StoreUnavailable, match="within the deadline"):
                    in_time(lambda backend=backend: backend.sessions.load(key))  # type: ignore[misc]
        assert warm.sessions.load(key) is None
        assert cold.sessions.load(key) is None


def test_a_source_of_versions_that_hangs_is_waited_for_until_the_deadline(url: str) -> None:
    versions = open_sql_versions(url, timeout=1.0)
    assert versions.current(["scope"]) == {"scope": 0}
    with hanging(), pytest.raises(StoreUnavailable):
        in_time(lambda: versions.current(["scope"]))


@contextmanager
def hanging() -> Iterator[None]:
    server = databases.shared_mariadb()
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def row_locked(url: str, key: str) -> Iterator[None]:
    """Somebody else's transaction holds the row of a session."""
    with plain(url).connect() as connection:
        connection.execute(
            text("SELECT 1 FROM wsgi_sessions WHERE `key` = :key FOR UPDATE"), {"key": key}
        )
        yield


def test_a_statement_that_was_given_up_does_not_go_on_and_take_effect(url: str, key: str) -> None:
    with closing(open_sql(url, timeout=1.0)) as backend:
        backend.sessions.create(key, b"first", later())
        with row_locked(url, key), pytest.raises(StoreUnavailable):
            in_time(lambda: backend.sessions.save(key, b"late", later(), expected_version=1))
    with closing(open_sql(url, timeout=10.0)) as patient:
        record = patient.sessions.load(key)
        assert record is not None
        assert patient.sessions.save(key, b"next", later(), expected_version=1) == 2


def test_limits_are_the_connections_own_and_kept_by_the_server(url: str) -> None:
    engine = connect_sql(parse_sql_url(url), 3.0, create="nothing")
    with engine.connect() as connection:
        names = "@@innodb_lock_wait_timeout, @@max_statement_time, @@idle_transaction_timeout"
        assert tuple(connection.execute(text(f"SELECT {names}")).one()) == (3, 3.0, 30)
    engine.dispose()


def test_limits_in_the_url_win(url: str) -> None:
    engine = connect_sql(parse_sql_url(f"{url}&read_timeout=7"), 3.0, create="nothing")
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        assert (driver._read_timeout, driver._write_timeout) == (7, 3.0)
    engine.dispose()


# -- a server that hangs up --------------------------------------------------------------------


def every_operation(backend: Backend, key: str) -> list[Callable[[], object]]:
    assert backend.leases is not None
    assert backend.versions is not None
    leases, versions = backend.leases, backend.versions
    return [
        lambda: backend.sessions.load(key),
        lambda: backend.sessions.save(key, b"2", later(), expected_version=1),
        lambda: backend.sessions.touch(key, later()),
        lambda: backend.index.add("user", key, later()),
        lambda: backend.index.keys_of("user"),
        lambda: leases.acquire(key, "holder", 30.0),
        lambda: leases.release(key, "holder"),
        lambda: versions.bump("scope"),
        lambda: versions.current(["scope"]),
        lambda: backend.iteration.count(),
        lambda: backend.sessions.delete(key),
        lambda: backend.sessions.ping(),
    ]


@pytest.mark.parametrize("kind", ["url", "engine"])
def test_connections_that_the_server_closed_are_replaced(url: str, key: str, kind: str) -> None:
    """As after its ``wait_timeout`` or a restart."""
    engine = create_engine(parse_sql_url(url))
    with closing(open_sql(url if kind == "url" else engine, timeout=20.0)) as backend:
        backend.sessions.create(key, b"1", later())
        for operation in every_operation(backend, key):
            kill_all(url)
            operation()
    engine.dispose()


def test_a_log_line_is_all_that_a_lost_connection_leaves(
    backend: Backend, url: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend.sessions.create(key, b"1", later())
    kill_all(url)
    assert backend.sessions.load(key) is not None
    assert "Traceback" not in caplog.text


@contextmanager
def lost_in_commits(engine: Engine, url: str, times: int) -> Iterator[list[int]]:
    """The server hangs up when it is told to commit, so often."""
    lost: list[int] = []

    def lose(_: Connection) -> None:
        if len(lost) < times:
            lost.append(len(lost))
            kill_all(url)

    event.listen(engine, "commit", lose)
    yield lost
    event.remove(engine, "commit", lose)


def test_a_save_whose_commit_had_no_answer_meets_what_it_stored(url: str, key: str) -> None:
    engine = create_engine(parse_sql_url(url))
    with closing(open_sql(engine, timeout=20.0)) as backend:
        backend.sessions.create(key, b"1", later())
        with lost_in_commits(engine, url, 1) as lost, pytest.raises(VersionConflict) as caught:
            backend.sessions.save(key, b"2", later(), expected_version=1)
        assert lost
        assert caught.value.is_after_retry
    engine.dispose()


def test_a_commit_without_an_answer_twice_is_a_fault_of_the_store(url: str, key: str) -> None:
    engine = create_engine(parse_sql_url(url))
    with closing(open_sql(engine, timeout=20.0)) as backend:
        backend.sessions.create(key, b"1", later())
        with lost_in_commits(engine, url, 9) as lost:
            with pytest.raises(StoreUnavailable, match="hung up"):
                backend.sessions.touch(key, later() + 1000)
            with pytest.raises(WriteInDoubt):
                backend.sessions.create(store_key(new_id()), b"1", later())
            assert len(lost) == 3
    engine.dispose()


@pytest.mark.soak
def test_no_request_is_a_500_while_connections_are_killed(url: str) -> None:
    """A change that is answered with 200 is stored; one answered with 503 may be."""
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.05):
            kill_all(url)

    killer = threading.Thread(target=kill)
    with GunicornServer(worker_class="gthread", url=url) as server:
        browser = server.browser()
        assert browser.get("/start").status == 200
        killer.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                replies = list(
                    pool.map(lambda n: browser.twin().get("/change", item=n).status, range(400))
                )
        finally:
            done.set()
            killer.join()
        assert set(replies) <= {200, 503}, server.log()
        entries = browser.values()["entries"]
        assert len(set(entries)) == len(entries)
        assert replies.count(200) <= len(entries) <= len(replies)


# -- making the tables -------------------------------------------------------------------------


def held(url: str) -> bool:
    return not ask(url, f"SELECT IS_FREE_LOCK({schema._LOCK_NAME})")


def test_a_process_that_made_the_tables_lets_others_pass(empty: str, key: str) -> None:
    """Its connection stays open, in its pool."""
    with closing(open_sql(empty, timeout=20.0, create_all=True)) as backend:
        assert backend.sessions.load(key) is None
        assert not held(empty)


def test_a_process_that_failed_to_make_the_tables_lets_others_pass(empty: str) -> None:
    engine = SqlEngine(
        connect_sql(parse_sql_url(empty), 20.0, create="nothing"), label="here", timeout=20.0
    )

    def fails(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM nowhere"))

    for wrong in (fails, fails):
        with pytest.raises(StoreUnavailable):
            engine.run("migrate", None, lambda c, wrong=wrong: schema.upgrade(c, {1: wrong}))  # type: ignore[misc]
        assert not held(empty)
    engine.close()


def test_first_requests_of_several_workers_make_the_tables_once(empty: str, key: str) -> None:
    """Within the time-out of a request by default, or not: this is done but once."""
    backends = [open_sql(empty, timeout=0.5, create_all=True) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda backend: backend.sessions.load(key), backends)) == [None] * 3
    assert ask(empty, "SELECT COUNT(*) FROM wsgi_sessions_schema") == 1
    for backend in backends:
        backend.close()


def test_a_process_that_waits_for_the_tables_gives_up(
    empty: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_WAITING_SECONDS", 0.1)
    with plain(empty).connect() as connection:
        connection.execute(text(f"SELECT GET_LOCK({schema._LOCK_NAME}, 0)"))
        with (
            closing(open_sql(empty, timeout=20.0, create_all=True)) as backend,
            pytest.raises(StoreUnavailable, match="another process is making"),
        ):
            backend.sessions.load(key)


# -- a server that refuses ---------------------------------------------------------------------


@contextmanager
def setting(url: str, name: str, value: object) -> Iterator[None]:
    """A global setting of the server, which connections made from now on have."""
    before = ask(url, f"SELECT @@GLOBAL.{name}")
    ask(url, f"SET GLOBAL {name} = {value!r}")
    try:
        yield
    finally:
        ask(url, f"SET GLOBAL {name} = {before!r}")


def test_sessions_are_stored_where_the_server_logs_statements(url: str, key: str) -> None:
    with (
        setting(url, "binlog_format", "STATEMENT"),
        closing(open_sql(url, timeout=10.0)) as backend,
    ):
        backend.sessions.create(key, b"1", later())
        assert backend.versions is not None
        assert backend.versions.bump("statements") == 1
        for version in range(1, 4):
            assert backend.sessions.save(key, b"2", later(), expected_version=version)


@pytest.mark.parametrize(("logs", "level"), [("ROW", "READ-COMMITTED"), ("STATEMENT", None)])
def test_gaps_are_not_locked_unless_the_server_logs_statements(
    url: str, logs: str, level: str | None
) -> None:
    level = level or ask(url, "SELECT @@GLOBAL.tx_isolation")
    with setting(url, "binlog_format", logs):
        engine = connect_sql(parse_sql_url(url), 3.0, create="nothing")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT @@tx_isolation")).scalar() == level
        engine.dispose()


def test_an_engine_that_cannot_write_there_gets_the_reason(url: str, key: str) -> None:
    engine = create_engine(parse_sql_url(url), poolclass=NullPool, isolation_level="READ COMMITTED")
    with (
        setting(url, "binlog_format", "STATEMENT"),
        closing(open_sql(engine, timeout=10.0)) as backend,
        pytest.raises(StoreUnavailable, match="binlog_format to ROW or MIXED") as caught,
    ):
        backend.index.add("user", key, later())
    assert "1665" in str(caught.value)


def test_a_session_above_the_servers_largest_packet_is_refused_by_name(url: str, key: str) -> None:
    """And does not pass for a server that is down: other sessions are stored on."""
    with (
        setting(url, "max_allowed_packet", 65536),
        closing(open_sql(url, timeout=10.0)) as backend,
    ):
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="max_allowed_packet"):
                backend.sessions.create(key, b"x" * 70_000, later())
        backend.sessions.create(key, b"small", later())


def test_with_an_engine_of_the_applications_the_size_is_named_as_a_possible_cause(
    url: str, key: str
) -> None:
    with setting(url, "max_allowed_packet", 65536):
        engine = create_engine(parse_sql_url(url), poolclass=NullPool)
        with (
            closing(open_sql(engine, timeout=10.0)) as backend,
            pytest.raises(StoreUnavailable, match="max_allowed_packet"),
        ):
            backend.sessions.create(key, b"x" * 300_000, later())
