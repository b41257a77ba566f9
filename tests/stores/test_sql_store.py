"""What is special to the SQL store: its tables, its server's faults, processes, what it may say."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import databases
import psycopg
import pytest
from databases import DATABASES, Database
from redis_servers import wait_until
from sqlalchemy import create_engine, event, select, text, update
from sqlalchemy.pool import NullPool
from store_urls import sqlite_url

from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.errors import (
    ConfigurationError,
    StoreUnavailable,
    VersionConflict,
    WriteInDoubt,
)
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql import schema as sql_schema
from wsgi_sessions.stores.sql.backend import migrate_schema, open_sql
from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
from wsgi_sessions.stores.sql.schema import sessions
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.testing.contract.processes import add_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from wsgi_sessions.contract import Backend

SECRET = "hidden-word"
COMMAND = "wsgi-sessions migrate-schema"
LATEST = sql_schema.SCHEMA_VERSION
NEXT = LATEST + 1


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database without tables."""
    if request.param == "sqlite":
        database = databases.sqlite(tmp_path)
        database.run("PRAGMA user_version")  # makes the file
        return database
    return databases.new_database(databases.shared_postgresql())


@pytest.fixture
def database(empty: Database) -> Database:
    """A database with the tables."""
    migrate_schema(empty.url)
    return empty


@pytest.fixture
def backend(database: Database) -> Iterator[Backend]:
    with closing(open_sql(database.url, timeout=10.0)) as opened:
        yield opened


@pytest.fixture
def postgresql(tmp_path: Path) -> Database:
    """A PostgreSQL database with the tables."""
    database = databases.new_database(databases.shared_postgresql())
    migrate_schema(database.url)
    return database


@pytest.fixture
def key() -> str:
    return store_key(new_id())


def later(seconds: float = 1000.0) -> float:
    return time.time() + seconds


# -- the tables --------------------------------------------------------------------------------


def test_missing_tables_are_a_fault_that_names_the_command(empty: Database, key: str) -> None:
    with closing(open_sql(empty.url)) as backend:
        operations: list[Callable[[], object]] = [
            backend.sessions.ping,
            lambda: backend.sessions.load(key),
        ]
        for operation in operations:
            with pytest.raises(StoreUnavailable, match=COMMAND):
                operation()
        migrate_schema(empty.url)
        assert backend.sessions.load(key) is None  # no restart needed


def test_a_missing_file_is_not_made_by_surprise(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    with closing(open_sql(f"sqlite:///{path}")) as backend:
        with pytest.raises(StoreUnavailable, match=COMMAND):
            backend.sessions.ping()
        assert not path.exists()


def test_tables_that_vanish_while_running_are_a_fault(database: Database, key: str) -> None:
    with closing(open_sql(database.url)) as backend:
        backend.sessions.ping()
        database.run("DROP TABLE wsgi_sessions")
        with pytest.raises(StoreUnavailable, match=COMMAND):
            backend.sessions.load(key)


def test_tables_are_made_on_first_use_where_that_is_asked_for(empty: Database, key: str) -> None:
    with closing(open_backend(empty.url, sql_schema="create")) as backend:
        backend.sessions.create(key, b"x", later())
        assert backend.sessions.load(key) is not None


def test_a_sqlite_file_is_made_for_its_owner_alone(tmp_path: Path, key: str) -> None:
    path = tmp_path / "new.db"
    with closing(open_sql(f"sqlite:///{path}", create_all=True)) as backend:
        backend.sessions.create(key, b"x", later())
        made = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
        assert [file.stat().st_mode & 0o777 for file in made] == [0o600] * 3


def test_an_older_schema_is_a_fault_that_names_the_command(database: Database, key: str) -> None:
    database.run("UPDATE wsgi_sessions_schema SET version = 0")
    with (
        closing(open_sql(database.url)) as backend,
        pytest.raises(StoreUnavailable, match=COMMAND),
    ):
        backend.sessions.load(key)


def test_the_stamps_of_a_database_without_sessions_are_kept(empty: Database) -> None:
    """Version 0 of the schema: the table that `create_version_table` makes, and no other."""
    from wsgi_sessions.database.bump import bump_version
    from wsgi_sessions.database.version_table import create_version_table

    with closing(empty.connect()) as connection:
        create_version_table(connection)
        for _ in range(3):
            bump_version(connection, "league:5")
        connection.commit()
    assert migrate_schema(empty.url) == (0, LATEST)
    assert migrate_schema(empty.url) == (LATEST, LATEST)
    with closing(open_sql(empty.url)) as backend:
        assert backend.versions is not None
        assert backend.versions.current(["league:5"]) == {"league:5": 3}
        assert backend.versions.bump("league:5") == 4


def add_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE wsgi_sessions ADD COLUMN added INTEGER"))


def test_an_upgrade_keeps_rows_and_is_made_once(database: Database, key: str) -> None:
    """Several at once: the step can be taken only once, a second time would fail."""
    with closing(open_sql(database.url)) as backend:
        backend.sessions.create(key, b"kept", later())
        steps = {**sql_schema.STEPS, NEXT: add_column}
        start = threading.Barrier(4)

        def upgrade(_: int) -> int:
            engine = SqlEngine(database.engine(), label="here", timeout=20.0)
            start.wait()
            return engine.run("migrate", None, lambda c: sql_schema.upgrade(c, steps))

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(upgrade, range(4))) == [LATEST, NEXT, NEXT, NEXT]
        record = backend.sessions.load(key)
        assert record is not None
        assert record.payload == b"kept"
    assert database.run("SELECT version FROM wsgi_sessions_schema") == [(NEXT,)]
    assert database.run("SELECT added FROM wsgi_sessions") == [(None,)]


def test_a_database_of_the_first_version_gets_a_schedule_for_each_application(
    database: Database, key: str
) -> None:
    database.run("ALTER TABLE wsgi_sessions_refreshes DROP COLUMN application")
    database.run("UPDATE wsgi_sessions_schema SET version = 1")
    database.run(f"INSERT INTO wsgi_sessions_refreshes (key, due_at) VALUES ('{key}', 5)")
    with (
        closing(open_sql(database.url)) as backend,
        pytest.raises(StoreUnavailable, match=COMMAND),
    ):
        backend.sessions.ping()
    assert migrate_schema(database.url) == (1, LATEST)
    with closing(open_sql(database.url)) as backend:
        assert backend.refreshes is not None
        shop = backend.refreshes.of("shop")
        assert (backend.refreshes.due(9.0, 5), shop.due(9.0, 5)) == ([key], [])
        shop.schedule(key, 6.0)  # a session is of one application
        assert (backend.refreshes.due(9.0, 5), shop.due(9.0, 5)) == ([], [key])


def test_a_step_that_fails_changes_nothing(database: Database) -> None:
    def fail(connection: Connection) -> None:
        add_column(connection)
        raise StoreUnavailable("in the middle")

    engine = SqlEngine(database.engine(), label="here", timeout=20.0)
    steps = {**sql_schema.STEPS, NEXT: fail}
    with pytest.raises(StoreUnavailable, match="in the middle"):
        engine.run("migrate", None, lambda c: sql_schema.upgrade(c, steps))
    assert database.run("SELECT version FROM wsgi_sessions_schema") == [(LATEST,)]
    migrated = engine.run(
        "migrate", None, lambda c: sql_schema.upgrade(c, {**steps, NEXT: add_column})
    )
    assert migrated == LATEST


@pytest.mark.soak
def test_processes_that_make_the_tables_at_once(empty: Database) -> None:
    program = (
        "import sys; from wsgi_sessions.stores.sql.backend import open_sql\n"
        "backend = open_sql(sys.argv[1], timeout=20, create_all=True)\n"
        "print('ready', flush=True); sys.stdin.readline(); backend.sessions.ping()\n"
    )
    pipe = subprocess.PIPE
    makers = [
        subprocess.Popen([sys.executable, "-c", program, empty.url], stdin=pipe, stdout=pipe)
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"ready\n"
    for maker in makers:
        maker.communicate(b"\n", timeout=60)
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert database_version(empty) == LATEST


def database_version(database: Database) -> int:
    ((version,),) = database.run("SELECT version FROM wsgi_sessions_schema")
    return int(version)


# -- an Engine of the application --------------------------------------------------------------


def test_an_engine_that_is_handed_in_is_used_and_left_open(database: Database, key: str) -> None:
    engine = create_engine(database.url)
    used: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: used.append(arguments[2]))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        pool = engine.pool
        backend = open_sql(engine, timeout=10.0)
        backend.sessions.create(key, b"x", later())
        assert backend.sessions.save(key, b"y", later(), expected_version=1) == 2
        backend.close()
        assert engine.pool is pool
        assert any("UPDATE wsgi_sessions " in statement for statement in used)
    engine.dispose()


@pytest.mark.parametrize("how", ["begin event", "driver"])
def test_sqlite_engines_that_manage_transactions_themselves(
    tmp_path: Path, key: str, how: str
) -> None:
    """The two recipes of SQLAlchemy's documentation for pysqlite."""
    engine = create_engine(sqlite_url(tmp_path))
    if how == "begin event":

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @event.listens_for(engine, "begin")
        def begun(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

    backend = open_sql(engine, timeout=10.0)
    backend.sessions.create(key, b"0", later())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: add_one(backend, key), range(40)))
    record = backend.sessions.load(key)
    assert record is not None
    assert (record.payload, record.version) == (b"40", 41)
    engine.dispose()


def test_applications_share_a_postgresql_in_schemas_of_their_own(
    postgresql: Database, key: str
) -> None:
    postgresql.run("CREATE SCHEMA other")
    url = f"{postgresql.address}&options=-csearch_path%3Dother"
    with closing(open_sql(postgresql.url)) as one, closing(open_sql(url)) as other:
        with pytest.raises(StoreUnavailable, match=COMMAND):
            other.sessions.ping()
        assert migrate_schema(url) == (0, LATEST)
        one.sessions.create(key, b"x", later())
        assert other.sessions.load(key) is None
        assert other.iteration.count() == 0


def test_options_in_a_url_are_sent_at_the_start_of_a_connection(
    postgresql: Database,
) -> None:
    url = f"{postgresql.address}&options=-cstatement_timeout%3D700"
    engine = connect_sql(parse_sql_url(url), 5.0, create="nothing")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "700ms"
    engine.dispose()


# -- processes ---------------------------------------------------------------------------------

_FORK = """
import os, sys, time
sys.path[:0] = {tests!r}
from wsgi_sessions.testing.contract.processes import add_one
from wsgi_sessions.stores.sql.backend import open_sql
backend = open_sql({url!r}, timeout=20.0)
backend.sessions.create({key!r}, b"0", time.time() + 1000)  # the pool is warm now
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        for _ in range(30):
            add_one(backend, {key!r})
        sys.exit()  # with destructors
    children.append(child)
for _ in range(30):
    add_one(backend, {key!r})
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
add_one(backend, {key!r})
print(backend.sessions.load({key!r}).payload.decode())
"""


def test_a_warm_pool_survives_a_fork(database: Database, key: str) -> None:
    """Parent and children use the store at once; none says goodbye in another's name."""
    program = _FORK.format(tests=sys.path, url=database.url, key=key)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("121\n", "", 0)


# -- connections that are lost -----------------------------------------------------------------


def terminate_all(database: Database) -> None:
    """The server hangs up on everybody else."""
    with psycopg.connect(database.address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_stale_pooled_connection_is_replaced_without_a_fault(
    postgresql: Database, key: str
) -> None:
    with closing(open_sql(postgresql.url, timeout=10.0)) as backend:
        backend.sessions.create(key, b"1", later())
        for version in range(1, 4):
            terminate_all(postgresql)
            assert backend.sessions.save(key, b"2", later(), expected_version=version)
            terminate_all(postgresql)
            assert backend.sessions.load(key) is not None


def test_a_save_whose_answer_was_lost_says_so(postgresql: Database, key: str) -> None:
    engine = create_engine(postgresql.url, poolclass=NullPool)
    with closing(open_sql(engine, timeout=10.0)) as backend:
        backend.sessions.create(key, b"1", later())
        lost: list[str] = []

        @event.listens_for(engine, "after_cursor_execute")
        def lose(_: Any, cursor: Any, statement: str, *rest: object) -> None:
            if statement.startswith("UPDATE") and not lost:
                lost.append(statement)
                terminate_all(postgresql)
                cursor.execute("SELECT 1")

        with pytest.raises(VersionConflict) as caught:
            backend.sessions.save(key, b"2", later(), expected_version=1)
        assert lost
        assert caught.value.is_after_retry
        assert (caught.value.current.version, caught.value.current.payload) == (2, b"2")


def test_a_create_whose_answer_was_lost_is_not_sent_again(postgresql: Database, key: str) -> None:
    engine = create_engine(postgresql.url, poolclass=NullPool)
    with closing(open_sql(engine, timeout=10.0)) as backend:
        backend.sessions.ping()
        sent: list[str] = []

        @event.listens_for(engine, "after_cursor_execute")
        def lose(_: Any, cursor: Any, statement: str, *rest: object) -> None:
            if statement.startswith("INSERT"):
                sent.append(statement)
                terminate_all(postgresql)
                cursor.execute("SELECT 1")

        with pytest.raises(WriteInDoubt) as caught:
            backend.sessions.create(key, b"1", later())
        assert caught.value.may_try_another
        assert len(sent) == 1
        assert backend.sessions.load(key) is not None


def test_a_conflict_without_a_lost_answer_is_not_marked(backend: Backend, key: str) -> None:
    backend.sessions.create(key, b"1", later())
    with pytest.raises(VersionConflict) as caught:
        backend.sessions.save(key, b"2", later(), expected_version=7)
    assert not caught.value.is_after_retry


def test_a_server_that_is_down_does_not_stop_the_start(key: str) -> None:
    backend = open_sql(f"postgresql://ada:{SECRET}@127.0.0.1:1/db", timeout=5.0)
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            backend.sessions.load(key)
        assert_says_nothing(caught.value, SECRET, key)
    assert caught.value.attempts == 0  # the breaker is open
    assert time.monotonic() - started < 5


# -- transactions that meet --------------------------------------------------------------------


def test_a_deadlock_is_tried_again(postgresql: Database) -> None:
    keys = sorted(store_key(new_id()) for _ in range(2))
    with closing(open_sql(postgresql.url)) as backend:
        for one in keys:
            backend.sessions.create(one, b"", later())
    engine = SqlEngine(create_engine(postgresql.url), label="here", timeout=10.0)
    meeting = threading.Barrier(2)
    runs: list[str] = []

    def lock_both(order: list[str]) -> None:
        def work(connection: Connection) -> None:
            connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            is_first = order[0] not in runs
            runs.append(order[0])
            connection.execute(touch(order[0]))
            if is_first:
                meeting.wait(10)
            connection.execute(touch(order[1]))

        engine.run("test", None, work)

    with closing(engine), ThreadPoolExecutor(2) as pool:
        list(pool.map(lock_both, [keys, keys[::-1]]))
    # One was undone for certain. Both may have been, or one again: it comes back with its first
    # lock before the other one has woken up.
    assert len(runs) > 2
    assert postgresql.run("SELECT sum(version) FROM wsgi_sessions") == [(4 + 2,)]


def touch(key: str) -> Any:
    return update(sessions).where(sessions.c.key == key).values(version=sessions.c.version + 1)


def test_a_serialization_failure_is_tried_again(postgresql: Database, key: str) -> None:
    with closing(open_sql(postgresql.url)) as backend:
        backend.sessions.create(key, b"", later())
    engine = SqlEngine(
        create_engine(postgresql.url, isolation_level="SERIALIZABLE"), label="here", timeout=10.0
    )
    meeting = threading.Barrier(2)
    runs: list[int] = []

    def add(number: int) -> None:
        def work(connection: Connection) -> None:
            version = connection.execute(select(sessions.c.version)).scalar_one()
            is_first = number not in runs
            runs.append(number)
            if is_first:
                meeting.wait(10)
            connection.execute(update(sessions).values(version=version + 1))

        engine.run("test", None, work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, range(2)))
    assert len(runs) == 3
    assert postgresql.run("SELECT version FROM wsgi_sessions") == [(3,)]
    engine.close()


@contextmanager
def locked(url: str) -> Iterator[sqlite3.Connection]:
    """The database while somebody else writes to it."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield writer


def test_a_locked_database_is_waited_for_and_readers_go_on(tmp_path: Path, key: str) -> None:
    url = sqlite_url(tmp_path)
    with closing(open_sql(url, timeout=20.0)) as backend, ThreadPoolExecutor(1) as pool:
        backend.sessions.create(key, b"1", later())
        with locked(url) as writer:
            saving = pool.submit(backend.sessions.save, key, b"2", later(), expected_version=1)
            record = backend.sessions.load(key)
            assert record is not None
            assert record.version == 1
            assert not saving.done()
            writer.execute("COMMIT")
            assert saving.result(20) == 2


def test_a_database_that_stays_locked_is_a_fault_at_the_deadline(tmp_path: Path, key: str) -> None:
    url = sqlite_url(tmp_path)
    with closing(open_sql(url, timeout=0.2)) as backend, locked(url):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="kept busy") as caught:
            backend.sessions.create(key, b"1", later())
        assert 0.2 <= time.monotonic() - started < 5
        assert caught.value.attempts > 1
        assert backend.sessions.load(key) is None


# -- a server that hangs -----------------------------------------------------------------------


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def only_backend(database: Database) -> int:
    ((pid,),) = database.run(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return int(pid)


def postmaster(database: Database) -> int:
    ((folder,),) = database.run("SHOW data_directory")
    return int((Path(folder) / "postmaster.pid").read_text().split()[0])


def test_a_server_that_hangs_costs_the_deadline(postgresql: Database, key: str) -> None:
    with closing(open_sql(postgresql.url, timeout=0.4)) as backend:
        backend.sessions.create(key, b"1", later())
        with stopped(only_backend(postgresql)), stopped(postmaster(postgresql)):
            for _ in range(4):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable) as caught:
                    backend.sessions.save(key, b"2", later(), expected_version=1)
                assert time.monotonic() - started < 2
            assert caught.value.attempts == 0  # spared by the breaker
        wait_until(lambda: is_loaded(backend, key), "the server to answer again")


def is_loaded(backend: Backend, key: str) -> bool:
    try:
        return backend.sessions.load(key) is not None
    except StoreUnavailable:
        return False


def test_a_server_that_hangs_while_connecting_costs_the_deadline(
    postgresql: Database, key: str
) -> None:
    with closing(open_sql(postgresql.url, timeout=0.4)) as backend:
        with stopped(postmaster(postgresql)):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                backend.sessions.load(key)
            assert time.monotonic() - started < 2
        wait_until(lambda: backend.sessions.load(key) is None, "the server to answer again")


# -- what is said ------------------------------------------------------------------------------


def assert_says_nothing(error: BaseException, *secrets: str) -> None:
    """Neither the error nor what it is chained to, as a log with its traceback would show it."""
    shown = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link is not None:
        shown += repr(link)
        link = link.__cause__ or link.__context__
    for secret in secrets:
        assert secret not in shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@h:port/db",
        f"postgresql://ada:{SECRET}@[::1/db",
        f"postgresql+nonsense://ada:{SECRET}@h/db",
        f"mysql+nonsense://ada:{SECRET}@h/db",
        f"sqlite:///relative.db?{SECRET}",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_that_cannot_be_meant_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_backend(url)
    assert_says_nothing(caught.value, SECRET)


def test_a_fault_quotes_no_statement_key_or_payload(database: Database, key: str) -> None:
    engine = create_engine(database.url, poolclass=NullPool)
    backend = open_sql(engine)
    backend.sessions.ping()
    database.run("ALTER TABLE wsgi_sessions RENAME COLUMN payload TO other")
    with pytest.raises(StoreUnavailable) as caught:
        backend.sessions.create(key, SECRET.encode(), later())
    assert caught.value.key == key[:10]
    assert caught.value.operation == "create"
    assert caught.value.__cause__ is not None
    assert_says_nothing(caught.value, SECRET, key, "INSERT")


@pytest.mark.parametrize("missing", ["sqlalchemy", "psycopg"])
def test_missing_packages_are_named_with_the_command(missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from wsgi_sessions import ConfigurationError, open_backend\n"
        "try: open_backend('postgresql://h/d')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'wsgi-sessions[sql]'" in done.stdout


# -- purging, upkeep, advice -------------------------------------------------------------------


def test_a_record_that_is_revived_during_a_purge_stays(postgresql: Database, key: str) -> None:
    """The purge neither deletes it nor waits for who revives it."""
    with closing(open_sql(postgresql.url, timeout=20.0)) as backend:
        assert backend.expired is not None
        for one in (key, store_key(new_id())):
            backend.sessions.create(one, b"old", later(-10))
        with psycopg.connect(postgresql.address) as reviver:
            revive = "UPDATE wsgi_sessions SET expires_at = expires_at + 1000 WHERE key = %s"
            reviver.execute(revive, [key])
            assert backend.expired.delete_expired(10) == 1
        assert backend.sessions.load(key) is not None


def test_an_expired_record_is_found_through_the_index(database: Database) -> None:
    explain = "EXPLAIN QUERY PLAN " if database.name == "sqlite" else "EXPLAIN "
    engine = database.engine()
    plans: list[str] = []

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def explained(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> Any:
        if statement.startswith("DELETE"):
            if database.name == "postgresql":
                cursor.execute("SET enable_seqscan = off")
            cursor.execute(explain + statement, parameters)
            plans.extend(str(row) for row in cursor.fetchall())
        return statement, parameters

    backend = open_sql(engine)
    assert backend.expired is not None
    assert backend.expired.delete_expired(10) == 0
    plan = "\n".join(plans)
    assert "wsgi_sessions_by_expiry" in plan
    if database.name == "sqlite":
        assert "wsgi_sessions_by_expiry (expires_at<?)" in plan
    else:
        assert "Index Cond: (expires_at <=" in plan


def test_one_of_all_processes_is_elected_to_sweep(database: Database) -> None:
    backends = [open_sql(database.url, timeout=20.0) for _ in range(3)]

    def elect(backend: Backend) -> bool:
        assert backend.leftovers is not None
        with backend.leftovers.elect(60) as elected:
            return elected

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(elect, backends)) == [False, False, True]
    assert not elect(backends[0])
    database.run("UPDATE wsgi_sessions_schema SET swept_at = swept_at - 61")
    assert elect(backends[1])
    database.run("UPDATE wsgi_sessions_schema SET swept_at = swept_at + 5000")
    assert elect(backends[2]), "after the clock was set back"
    for backend in backends:
        backend.close()


def test_abandoned_rows_are_removed_when_they_expire(backend: Backend, key: str) -> None:
    assert backend.leftovers is not None
    live = store_key(new_id())
    backend.index.add("alice", key, later(-10))
    backend.index.add("alice", live, later())
    with backend.locks.hold(live, 1.0):
        removed = backend.leftovers.remove_leftovers()
    assert removed == {"locks": 0, "leases": 0, "index": 1, "quarantined": 0}
    assert backend.index.keys_of("alice") == [live]


def test_a_row_that_was_edited_by_hand_is_set_aside(tmp_path: Path, key: str) -> None:
    """SQLite keeps what it is given, whatever the column's type."""
    url = sqlite_url(tmp_path)
    with closing(open_sql(url)) as backend:
        told: list[str] = []
        assert backend.quarantine is not None
        backend.quarantine.report_to(lambda key, _: told.append(key))
        for number, change in enumerate(["payload = 'text'", "expires_at = 'never'"], 1):
            backend.sessions.create(key, b"x", later())
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as editor, editor:
                editor.execute(f"UPDATE wsgi_sessions SET {change}")
            assert backend.sessions.load(key) is None
            assert backend.quarantine.quarantined() == 1, number
            assert told == [key] * number


def advice_of(backend: Backend) -> list[str]:
    assert backend.advice is not None
    return backend.advice.warnings()


def test_a_sound_database_gets_no_advice(tmp_path: Path, postgresql: Database) -> None:
    url = sqlite_url(tmp_path)
    os.chmod(url.removeprefix("sqlite:///"), 0o600)
    with closing(open_sql(url)) as backend:
        assert advice_of(backend) == []
    with closing(open_sql(postgresql.url)) as backend:
        assert [text for text in advice_of(backend) if "fsync" not in text] == []


def test_dangers_of_sqlite_are_advised_of(tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    migrate_schema(f"sqlite:///{path}")
    os.chmod(path, 0o644)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    backend = open_sql(create_engine(f"sqlite:///{path}", poolclass=NullPool))
    found = advice_of(backend)
    assert len(found) == 2
    assert "WAL" in found[0]
    assert f"chmod 600 {path}" in found[1] or str(path) in found[1]


def test_a_read_only_database_is_named(postgresql: Database, key: str) -> None:
    postgresql.run(
        f"ALTER DATABASE {postgresql.address.split('/')[3].split('?')[0]} "
        "SET default_transaction_read_only = on"
    )
    with closing(open_sql(postgresql.url)) as backend:
        assert any("primary" in text for text in advice_of(backend))
        with pytest.raises(StoreUnavailable, match="takes no writes") as caught:
            backend.sessions.create(key, b"x", later())
        assert caught.value.attempts == 1


def test_iteration_goes_on_over_many_pages(backend: Backend, database: Database) -> None:
    engine = database.engine()
    keys = sorted(store_key(new_id()) for _ in range(2100))
    rows = [{"key": key, "version": 1, "payload": b"", "expires_at": later()} for key in keys]
    with engine.begin() as connection:
        connection.execute(sessions.insert(), rows)
    assert list(backend.iteration.keys()) == keys
    assert backend.iteration.count() == 2100
