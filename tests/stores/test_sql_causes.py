"""What may go wrong with a SQL database and its driver: all of it is the store's fault, named, with
the remedy and the database's own words, and without what it was sent."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import databases
import psycopg
import pymysql
import pytest
from database_servers import missing_mariadb
from poolers import missing_pgbouncer, pgbouncer
from redis_servers import wait_until
from requirements_of_tests import require
from sqlalchemy import create_engine, event, exc
from sqlalchemy.pool import NullPool
from store_urls import mariadb_url, postgresql_url

from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt
from wsgi_sessions.health.checker import check
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.backend import migrate_schema, open_sql
from wsgi_sessions.stores.sql.engine.causes import SqlReaction
from wsgi_sessions.stores.sql.engine.faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from databases import Database
    from sqlalchemy import Engine

SECRET = "hidden-word"
LONG_LABEL = "a" * 64


@pytest.fixture
def key() -> str:
    return store_key(new_id())


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A SQLite database with the tables."""
    made = databases.sqlite(tmp_path)
    migrate_schema(made.url)
    return made


def later() -> float:
    return time.time() + 1000


# -- whatever a driver raises ------------------------------------------------------------------

STRANGE = [
    RuntimeError("'cryptography' package is required for sha256_password"),
    UnicodeError("label empty or too long"),
    TypeError("no such argument"),
    OSError(9, "Bad file descriptor"),
    EOFError(),
    AttributeError("'NoneType' object has no attribute 'send'"),
    pymysql.err.InterfaceError(0, ""),
    psycopg.InterfaceError("the connection is closed"),
]


@contextmanager
def raising(engine: Engine, moment: str, error: Exception) -> Iterator[None]:
    """The driver raises this when it connects, executes or commits."""

    def fail(*_: object) -> None:
        raise error

    event.listen(engine, moment, fail)
    yield
    event.remove(engine, moment, fail)


@pytest.mark.parametrize("moment", ["do_connect", "before_cursor_execute", "commit"])
@pytest.mark.parametrize("error", STRANGE, ids=lambda error: type(error).__name__)
def test_any_exception_of_a_driver_is_a_fault_of_the_store(
    database: Database, key: str, moment: str, error: Exception
) -> None:
    engine = create_engine(database.url, poolclass=NullPool)
    with closing(open_sql(engine)) as backend:
        backend.sessions.create(key, b"1", later())
        with raising(engine, moment, error):
            for operation in (
                lambda: backend.sessions.load(key),
                lambda: backend.sessions.save(key, b"2", later(), expected_version=1),
                lambda: backend.sessions.create(store_key(new_id()), b"1", later()),
                lambda: backend.iteration.count(),
                lambda: backend.sessions.ping(),
            ):
                with pytest.raises(StoreUnavailable) as caught:
                    operation()
                assert type(error).__name__ in str(caught.value)
                assert type(error).__name__ in str(caught.value.__cause__)
            health = check(backend, timeout=5.0, fingerprints=[])
            assert not health.healthy
        wait_until(lambda: check(backend, timeout=5.0, fingerprints=[]).healthy, "an answer")


def test_a_connection_on_which_something_strange_was_raised_is_not_used_again(
    database: Database, key: str
) -> None:
    """The answer to a statement may still be on its way there."""
    engine = create_engine(database.url)
    with closing(open_sql(engine)) as backend:
        backend.sessions.ping()
        before = held_by(engine)
        assert backend.sessions.load(key) is None
        assert held_by(engine) is before
        with (
            raising(engine, "before_cursor_execute", RuntimeError("x")),
            pytest.raises(StoreUnavailable),
        ):
            backend.sessions.load(key)
        assert held_by(engine) is not before


def held_by(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.connection.dbapi_connection


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@{LONG_LABEL}.example/db",
        f"mariadb://ada:{SECRET}@{LONG_LABEL}.example/db",
        f"postgresql://ada:{SECRET}@nowhere.invalid/db",
        f"mariadb://ada:{SECRET}@nowhere.invalid/db",
        f"mariadb://ada:Ł{SECRET}@127.0.0.1:1/db",
        f"postgresql://ada:Ł{SECRET}@127.0.0.1:1/db",
    ],
)
def test_a_host_or_password_that_no_driver_can_use_is_the_stores_fault(url: str, key: str) -> None:
    with closing(open_sql(url, timeout=5.0)) as backend:
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                backend.sessions.load(key)
            assert SECRET not in str(caught.value)
            assert not isinstance(caught.value, WriteInDoubt)


class DatabaseError(Exception):
    """As pg8000 and its like raise, whose first argument is the server's answer."""


# -- causes that can be read -------------------------------------------------------------------


def of_driver(error: Exception, *, lost: bool = False) -> exc.DBAPIError:
    """As SQLAlchemy wraps what a driver raises."""
    kind = getattr(exc, type(error).__name__, exc.DatabaseError)
    return kind("SELECT", {}, error, connection_invalidated=lost)


def state(number: str, text: str = "") -> psycopg.Error:
    return psycopg.errors.lookup(number)(text)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (state("42P05"), "prepare_threshold"),
        (state("26000"), "prepare_threshold"),
        (state("08P01"), "pooler"),
        (state("42P01"), "migrate-schema"),
        (state("53300"), "max_connections"),
        (state("53100"), "room"),
        (state("28P01"), "password"),
        (state("XX001"), "backup"),
        (pymysql.err.OperationalError(1665, "no row logging"), "binlog_format"),
        (pymysql.err.OperationalError(1153, "Got a packet"), "max_allowed_packet"),
        (pymysql.err.OperationalError(1040, "Too many connections"), "max_connections"),
        (pymysql.err.OperationalError(1203, "User has"), "max_connections"),
        (pymysql.err.OperationalError(1044, "Access denied"), "GRANT".lower()),
        (pymysql.err.OperationalError(1290, "--read-only"), "primary"),
        (pymysql.err.OperationalError(2059, "Authentication plugin"), "cryptography"),
        (pymysql.err.OperationalError(2003, "Can't connect (timed out)"), "hung"),
        (psycopg.OperationalError('FATAL:  role "x" does not exist'), "user name"),
        (psycopg.OperationalError("FATAL: too many clients already"), "max_connections"),
        (psycopg.OperationalError("FATAL: unsupported startup parameter: options"), "options"),
        (psycopg.OperationalError("could not translate host name"), "resolver"),
        (psycopg.OperationalError("certificate verify failed"), "TLS"),
        (psycopg.OperationalError("FATAL: no pg_hba.conf entry for host"), "pg_hba.conf"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:30],
)
def test_known_faults_have_a_sentence_with_the_remedy(error: Exception, remedy: str) -> None:
    assert remedy in fault_of(of_driver(error)).sentence


@pytest.mark.parametrize(
    "error",
    [
        pymysql.err.OperationalError(1665, "x"),
        pymysql.err.OperationalError(1999, "an answer that nobody knows"),
        pymysql.err.ProgrammingError(1064, "syntax"),
        state("42P05"),
        state("0A000"),
    ],
)
def test_a_server_that_answers_is_not_asked_after_as_if_it_were_down(error: Exception) -> None:
    fault = fault_of(of_driver(error))
    assert "running" not in fault.sentence
    assert fault.reaction is SqlReaction.REPORT


@pytest.mark.parametrize("number", [1053, 1927, 2006, 2013, 4031])
def test_a_server_that_hung_up_is_asked_again(number: int) -> None:
    error = pymysql.err.OperationalError(number, "x")
    assert fault_of(of_driver(error)).reaction is SqlReaction.RECONNECT


@pytest.mark.parametrize(
    "error",
    [
        pymysql.err.IntegrityError(1062, f"Duplicate entry '{SECRET}' for key 'PRIMARY'"),
        pymysql.err.DataError(1406, f"Data too long: {SECRET}"),
        pymysql.err.ProgrammingError(1064, f"You have an error near '{SECRET}' at line 1"),
        psycopg.errors.UniqueViolation(f"duplicate\nDETAIL:  Key (key)=({SECRET})"),
        psycopg.errors.InvalidTextRepresentation(f'invalid input syntax: "{SECRET}"'),
        psycopg.errors.SyntaxError(f"syntax error at or near '{SECRET}'"),
        UnicodeEncodeError("latin-1", f"Ł{SECRET}", 0, 1, "ordinal not in range"),
        DatabaseError({"C": "23505", "M": "duplicate key", "D": f"Key (key)=({SECRET})"}),
        KeyError({"payload": SECRET}),
    ],
)
def test_the_database_s_words_do_not_repeat_values(error: Exception) -> None:
    raised = fault_of(error).error("here", "load", None, 1)
    assert SECRET not in str(raised)
    assert SECRET not in str(raised.__cause__)


def test_an_answer_in_fields_is_read_too() -> None:
    fault = fault_of(
        DatabaseError({"C": "42501", "M": "permission denied for table wsgi_sessions"})
    )
    assert "grant SELECT" in fault.sentence
    assert fault.words == "permission denied for table wsgi_sessions"


def test_words_are_on_one_line_and_cut() -> None:
    error = psycopg.OperationalError("first\nsecond\x1b[31m" + "x" * 5000)
    words = fault_of(error).words
    assert words.startswith("first second\\x1b[31m")
    assert len(words) <= 200


def test_a_store_key_is_not_among_its_words(key: str) -> None:
    assert key not in fault_of(psycopg.OperationalError(f"the row {key} is locked")).words


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_errors_and_health_have_the_servers_own_words(name: str, key: str) -> None:
    if name == "mariadb":
        require(missing_mariadb())
    url = mariadb_url() if name == "mariadb" else postgresql_url()
    missing = url.replace("/test", "/gone")
    with closing(open_sql(missing, timeout=5.0)) as backend:
        with pytest.raises(StoreUnavailable) as caught:
            backend.sessions.load(key)
        assert "create it, or correct the store URL" in str(caught.value)
        assert "gone" in str(caught.value.__cause__)
        health = check(backend, timeout=5.0, fingerprints=[])
        assert "create it, or correct the store URL" in str(health.as_dict())
        assert str(caught.value.__cause__) in str(health.as_dict())


def test_a_pooler_that_refuses_a_connection_is_named(key: str) -> None:
    require(missing_pgbouncer())
    database = databases.new_database(databases.shared_postgresql())
    with pgbouncer(database, "transaction") as url:
        refused = f"{url}{'&' if '?' in url else '?'}options=-cstatement_timeout%3D700"
        with (
            closing(open_sql(refused, timeout=5.0)) as backend,
            pytest.raises(StoreUnavailable, match="leave options out") as caught,
        ):
            backend.sessions.load(key)
        assert "unsupported startup parameter" in str(caught.value)
