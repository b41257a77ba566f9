"""Version stamps in SQLite and PostgreSQL, bumped in the transaction that changes the data."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from databases import DATABASES, KINDS, Database, Kind, new_database, postgresql, sqlite

from wsgi_sessions.database.bump import SqlVersions, bump_version, open_sql_versions
from wsgi_sessions.database.dbapi import paramstyle_of, render
from wsgi_sessions.database.version_table import (
    OWN_TABLE,
    SYSTEM_SETTINGS,
    VersionTable,
    create_version_table,
)
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = (
    "CREATE TABLE system_settings (key VARCHAR(100) PRIMARY KEY, value {type}, description TEXT,"
    " created_at TIMESTAMP, updated_at TIMESTAMP)"
)
TYPES = ["TEXT", "INTEGER", "VARCHAR(50)", "BIGINT", "NUMERIC"]


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "sqlite":
        yield None
    else:
        with postgresql() as url:
            yield url


@pytest.fixture
def database(server: str | None, tmp_path_factory: pytest.TempPathFactory) -> Database:
    if server is None:
        return sqlite(tmp_path_factory.mktemp("sqlite"))
    return new_database(server)


@pytest.fixture
def own(database: Database) -> Database:
    """With our own table."""
    with closing(database.connect()) as connection:
        create_version_table(connection)
        connection.commit()
    return database


def version(database: Database, scope: str = "global", table: VersionTable = OWN_TABLE) -> int:
    """What another connection sees."""
    return SqlVersions(database.connect, table=table).current([scope])[scope]


# -- the loader's transaction ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_bump_is_seen_when_its_transaction_commits(own: Database, kind: Kind) -> None:
    with closing(own.open(kind)) as connection:
        assert bump_version(connection) == 1
        assert bump_version(connection, "league:5") == 1
        assert bump_version(connection) == 2
        if own.name == "postgresql":
            assert version(own) == 0
        connection.commit()
        assert (version(own), version(own, "league:5")) == (2, 1)
        assert bump_version(connection) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_bump_that_is_rolled_back_is_never_visible(own: Database, kind: Kind) -> None:
    for expected in (0, 1):  # of a row that was missing, then of one that was there
        with closing(own.open(kind)) as connection:
            assert bump_version(connection) == expected + 1
            connection.rollback()
            assert version(own) == expected
        with closing(own.open(kind)) as connection:
            bump_version(connection)
            # Closed without a commit, as when the loader raised.
        assert version(own) == expected
        SqlVersions(own.connect).bump("global")


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_and_the_bump_are_one_change(own: Database, kind: Kind) -> None:
    own.run("CREATE TABLE players (id INTEGER)")
    for outcome in ("rollback", "commit"):
        with closing(own.open(kind)) as connection:
            if kind == "dbapi":
                connection.cursor().execute("INSERT INTO players VALUES (7)")
            else:
                from sqlalchemy import text

                connection.execute(text("INSERT INTO players VALUES (7)"))
            bump_version(connection)
            getattr(connection, outcome)()
        seen = (own.run("SELECT id FROM players"), version(own))
        assert seen == (([], 0) if outcome == "rollback" else ([(7,)], 1))


# -- a table that is there already -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", TYPES)
def test_an_existing_table_of_settings(database: Database, kind: Kind, column: str) -> None:
    database.run(SETTINGS.format(type=column))
    database.run("INSERT INTO system_settings (key, value) VALUES ('session_version', '41')")
    database.run("INSERT INTO system_settings (key, value) VALUES ('other', '5')")
    with closing(database.open(kind)) as connection:
        assert bump_version(connection, table=SYSTEM_SETTINGS) == 42
        assert bump_version(connection, "league:5", table=SYSTEM_SETTINGS) == 1
        assert bump_version(connection, "league:5", table=SYSTEM_SETTINGS) == 2
        connection.commit()
    rows = database.run("SELECT key, value FROM system_settings ORDER BY key")
    assert [(key, int(value)) for key, value in rows] == [
        ("other", 5),
        ("session_version", 42),
        ("session_version:league:5", 2),
    ]
    if column in ("TEXT", "INTEGER"):
        assert {type(value) for _, value in rows} == {str if column == "TEXT" else int}
    assert version(database, table=SYSTEM_SETTINGS) == 42
    (made,) = database.run(
        "SELECT description, created_at, updated_at FROM system_settings "
        "WHERE key = 'session_version:league:5'"
    )
    assert None not in made


def test_a_value_that_is_not_a_number_is_left_alone(database: Database) -> None:
    database.run(SETTINGS.format(type="TEXT"))
    database.run("INSERT INTO system_settings (key, value) VALUES ('session_version', 'v2')")
    with (
        closing(database.connect()) as connection,
        pytest.raises(ConfigurationError, match=r"session_version.*not hold a whole number"),
    ):
        bump_version(connection, table=SYSTEM_SETTINGS)
    with pytest.raises(StoreUnavailable, match="not hold a whole number"):
        version(database, table=SYSTEM_SETTINGS)
    assert database.run("SELECT value FROM system_settings") == [("v2",)]


def test_names_are_configurable_and_columns_may_be_missing(database: Database) -> None:
    table = VersionTable(
        "etl_state", "what", "number", created_at=None, updated_at=None, key="sessions"
    )
    database.run("CREATE TABLE etl_state (what TEXT UNIQUE, number TEXT)")
    stamps = SqlVersions(database.connect, table=table)
    assert [stamps.bump("global"), stamps.bump("global"), stamps.bump("x")] == [1, 2, 1]
    rows = database.run("SELECT what, number FROM etl_state ORDER BY what")
    assert rows == [("sessions", "2"), ("sessions:x", "1")]
    assert [stamps.bump("y", least=5), stamps.bump("y", least=5), stamps.bump("y")] == [5, 6, 7]
    assert stamps.history("global") == []


@pytest.mark.parametrize(
    "name",
    [
        "x; DROP TABLE players",
        'x"',
        "x y",
        "",
        ".",
        "a.b.c",
        "x--",
        "x'",
        "(SELECT 1)",
        "\uff11",
        "é",
        "x" * 64,
        "x\n",
    ],
)
def test_names_that_are_not_plain_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a plain SQL name"):
        VersionTable(name=name)
    for column in ("scope", "version", "created_at", "updated_at", "description"):
        if name:  # an empty optional column is none
            with pytest.raises(ConfigurationError, match="not a plain SQL name"):
                VersionTable(**{column: name})
    with pytest.raises(ConfigurationError):
        VersionTable(scope="a.b")
    assert VersionTable(name="public.stamps").name == "public.stamps"


def test_a_scope_is_data_and_never_sql(own: Database) -> None:
    own.run("CREATE TABLE players (id INTEGER)")
    stamps = SqlVersions(own.connect)
    scopes = ["x'; DROP TABLE players; --", ":name", "%(name)s", "%s", "?", "*", "é"]
    for scope in scopes:
        assert stamps.bump(scope) == 1
    assert stamps.current(scopes) == dict.fromkeys(scopes, 1)
    assert own.run("SELECT id FROM players") == []
    with pytest.raises(ConfigurationError):
        stamps.bump("")


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["transactions", "autocommit", "explicit"])
def test_bumps_at_once_all_count_also_of_a_missing_row(own: Database, mode: str) -> None:
    barrier = threading.Barrier(4)

    def work(_: int) -> list[int]:
        found = []
        with closing(own.connect()) as connection:
            if mode != "transactions":
                _autocommit(connection)
            barrier.wait(20)
            for _ in range(10):
                if mode == "explicit":  # which takes no lock yet
                    connection.execute("BEGIN")
                found.append(bump_version(connection))
                connection.commit()
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(4)))
    assert all(numbers == sorted(numbers) for numbers in found)
    assert sorted(number for numbers in found for number in numbers) == list(range(1, 41))


def test_in_sqlite_no_writer_comes_between_reading_and_writing(tmp_path: Path) -> None:
    """A transaction that had read first could not write any more once another one has written."""
    database = sqlite(tmp_path)
    database.run("PRAGMA journal_mode = WAL")
    with closing(database.connect()) as connection:
        create_version_table(connection)
        connection.commit()
    SqlVersions(database.connect).bump("global")
    refused = []

    def interfere(statement: str) -> None:
        if "CURRENT_TIMESTAMP" in statement:
            try:
                with closing(sqlite3.connect(database.address, timeout=0)) as other:
                    bump_version(other)
                    other.commit()
            except sqlite3.OperationalError as error:
                refused.append(str(error))

    with closing(sqlite3.connect(database.address, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.set_trace_callback(interfere)
        assert bump_version(connection) == 2
        connection.commit()
    assert refused == ["database is locked"]
    assert version(database) == 2


def _autocommit(connection: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
    else:
        connection.autocommit = True


# -- the source --------------------------------------------------------------------------------


def test_the_source_reads_and_bumps(own: Database) -> None:
    stamps = open_sql_versions(own.url, timeout=5.0)
    assert stamps.current([]) == {}
    assert stamps.current(["global", "x"]) == {"global": 0, "x": 0}
    assert [stamps.bump("x"), stamps.bump("x")] == [1, 2]
    assert stamps.current(["global", "x"]) == {"global": 0, "x": 2}
    (bump,) = stamps.history("x")
    assert bump.version == 2
    assert abs(bump.at - time.time()) < 600
    assert stamps.history("global") == []
    assert stamps.history("x", 0) == []


def test_a_missing_table_and_a_missing_server_are_faults(database: Database) -> None:
    for stamps in (SqlVersions(database.connect), open_sql_versions(database.url)):
        with pytest.raises(StoreUnavailable, match="create_version_table"):
            stamps.current(["global"])
        with pytest.raises(StoreUnavailable):
            stamps.bump("global")
    nobody = "postgresql://user:hidden-word@127.0.0.1:1/nothing"
    with pytest.raises(StoreUnavailable) as caught:
        open_sql_versions(nobody).current(["global"])
    assert "hidden-word" not in str(caught.value)


def test_the_table_is_made_once_and_on_request(database: Database) -> None:
    for kind in KINDS:
        with closing(database.open(kind)) as connection:
            create_version_table(connection)
            connection.commit()
            SqlVersions(database.connect).bump("global")
    assert version(database) == len(KINDS)


@pytest.mark.parametrize("url", ["nonsense", "oracle+nothing://u:hidden-word@h/d", "sqlite", "://"])
def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_sql_versions(url)
    assert "hidden-word" not in str(caught.value)


# -- drivers -----------------------------------------------------------------------------------


def test_each_style_of_parameters() -> None:
    statement, parameters = "SET a = :one WHERE b = :two AND c = :one", {"one": 1, "two": 2}
    assert render(statement, parameters, "qmark") == ("SET a = ? WHERE b = ? AND c = ?", (1, 2, 1))
    assert render(statement, parameters, "format")[0] == "SET a = %s WHERE b = %s AND c = %s"
    assert render(statement, parameters, "numeric") == (
        "SET a = :1 WHERE b = :2 AND c = :3",
        (1, 2, 1),
    )
    assert render(statement, parameters, "named") == (statement, parameters)
    assert render(statement, parameters, "pyformat") == (
        "SET a = %(one)s WHERE b = %(two)s AND c = %(one)s",
        parameters,
    )


def test_the_style_is_found_through_subclasses_and_pools(database: Database) -> None:
    class Own(sqlite3.Connection):
        """As applications have them, in a module that is no driver."""

    with closing(sqlite3.connect(":memory:", factory=Own)) as connection:
        assert paramstyle_of(connection) == "qmark"
    engine = database.engine()
    with closing(engine.raw_connection()) as pooled:
        expected = "qmark" if database.name == "sqlite" else psycopg.paramstyle
        assert paramstyle_of(pooled) == expected


def test_objects_that_are_not_a_connection_are_refused() -> None:
    for thing in (None, "dsn", object()):
        with pytest.raises(ConfigurationError, match="not a database connection"):
            bump_version(thing)

    class Unknown:
        def cursor(self) -> None: ...

    with pytest.raises(ConfigurationError, match="paramstyle="):
        bump_version(Unknown())
