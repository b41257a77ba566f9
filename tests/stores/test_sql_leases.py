"""Leases, contexts and refreshes in SQL: transactions that meet, clocks, plans, statements."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from databases import DATABASES
from redis_servers import wait_until
from sqlalchemy import create_engine, event
from sqlalchemy.sql import ClauseElement
from store_urls import postgresql_url, sqlite_url

from wsgi_sessions.contract import Context
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sql.backend import open_sql
from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
from wsgi_sessions.stores.sql.leases import SqlLeases
from wsgi_sessions.stores.sql.schema import claims, holders, locks
from wsgi_sessions.stores.sql.schema import contexts as contexts_table
from wsgi_sessions.stores.sql.schema import refreshes as refreshes_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from wsgi_sessions.contract import Backend, LeaseStore

LONG = 60.0


@pytest.fixture(scope="module", params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path_factory.mktemp("sqlite"))
    return postgresql_url()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = connect_sql(parse_sql_url(url), 5.0, create="nothing")
    yield engine
    engine.dispose()


@pytest.fixture
def backend(engine: Engine) -> Iterator[Backend]:
    with closing(open_sql(engine, timeout=5.0)) as backend:
        yield backend


@pytest.fixture
def leases(backend: Backend) -> LeaseStore:
    assert backend.leases is not None
    return backend.leases


@pytest.fixture
def key() -> str:
    return store_key(new_id())


# -- transactions that meet ------------------------------------------------------------------------


class Meeting:
    """A PostgreSQL database, and a transaction in it that others wait for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect_sql(parse_sql_url(url), 20.0, create="nothing")
        backend = open_sql(self.engine, timeout=20.0)
        assert backend.leases is not None
        self.backend, self.leases = backend, backend.leases

    def waiting(self) -> int:
        """How many transactions wait for a row."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
        assert found is not None
        return int(found[0])

    def race(
        self,
        statement: str,
        key: str,
        *takers: Callable[[], bool],
        meanwhile: Callable[[psycopg.Connection[Any]], None] = lambda _: None,
    ) -> list[bool]:
        """What came of those who all waited for a transaction with this statement."""
        with ThreadPoolExecutor(len(takers)) as pool, psycopg.connect(self.url) as first:
            first.execute(statement.encode(), {"key": key})
            results = [pool.submit(taker) for taker in takers]
            wait_until(lambda: self.waiting() == len(takers), "all to wait")
            meanwhile(first)
            first.commit()
            return [result.result(20) for result in results]


@pytest.fixture(scope="module")
def meeting() -> Iterator[Meeting]:
    meeting = Meeting(postgresql_url())
    yield meeting
    meeting.engine.dispose()


LOCK = "SELECT * FROM wsgi_sessions_claims WHERE key = %(key)s FOR UPDATE"
INSERT = "INSERT INTO wsgi_sessions_claims (key, holder, expires_at) VALUES (%(key)s, '', 0)"
REMOVE = "DELETE FROM wsgi_sessions_claims WHERE key = %(key)s"


@pytest.mark.parametrize("statement", [LOCK, INSERT, REMOVE])
def test_holders_and_claims_of_one_session_go_one_after_another(
    meeting: Meeting, key: str, statement: str
) -> None:
    """Also while the row that they lock is new, or is being swept away."""
    leases = meeting.leases
    for turn in range(12):
        if statement != INSERT:
            leases.acquire(key, "before", LONG)
            leases.release(key, "before")
        names = [f"{role} {turn}" for role in ("a", "b", "claim", "other claim")]
        held, held_too, claimed, claimed_too = meeting.race(
            statement,
            key,
            lambda: leases.acquire(key, names[0], LONG),  # noqa: B023 - done before the next turn
            lambda: leases.acquire(key, names[1], LONG),  # noqa: B023
            lambda: leases.claim(key, names[2], LONG),  # noqa: B023
            lambda: leases.claim(key, names[3], LONG),  # noqa: B023
        )
        assert held is held_too
        assert held + claimed + claimed_too == 1
        for name in names:
            leases.release(key, name)
        key = store_key(new_id()) if statement == INSERT else key


def test_a_claim_waits_for_a_holder_that_renews_at_the_last_moment(
    meeting: Meeting, key: str
) -> None:
    """In time by the holder's clock, late by the claimant's: one of them learns that it lost."""
    leases = meeting.leases
    leases.acquire(key, "a", 0.001)
    wait_until(lambda: leases.holders(key) == 0, "the lease to end")
    renew = "UPDATE wsgi_sessions_holders SET expires_at = 1e11 WHERE key = %(key)s"
    assert meeting.race(renew, key, lambda: leases.claim(key, "refresher", LONG)) == [False]
    assert leases.renew(key, "a", LONG)

    leases.renew(key, "a", 0.001)
    wait_until(lambda: leases.holders(key) == 0, "the lease to end")
    dead = "DELETE FROM wsgi_sessions_holders WHERE key = %(key)s"
    assert meeting.race(dead, key, lambda: leases.claim(key, "refresher", LONG)) == [True]


def test_a_claim_that_was_over_when_others_came_cannot_be_renewed(
    meeting: Meeting, key: str
) -> None:
    """Even by a statement that began when it was not over yet."""
    leases, ttl = meeting.leases, 0.3
    assert isinstance(leases, SqlLeases)
    hold = leases._hold.compile(meeting.engine)  # type: ignore[attr-defined]  # of an Executable
    acquire = hold.construct_params({"k": key, "h": "a", "ttl": LONG})
    over = (
        "SELECT * FROM wsgi_sessions_claims "
        "WHERE key = %s AND expires_at < extract(epoch FROM clock_timestamp())"
    )

    def come_after_it(connection: psycopg.Connection[Any]) -> None:
        wait_until(lambda: connection.execute(over, [key]).rowcount == 1, "the claim to be over")
        assert connection.execute(str(hold).encode(), acquire).rowcount == 1

    assert leases.claim(key, "refresher", ttl)
    renewed = meeting.race(
        LOCK, key, lambda: leases.renew(key, "refresher", LONG), meanwhile=come_after_it
    )
    assert renewed == [False]
    assert leases.holders(key) == 1


def test_a_sweep_waits_for_no_lock(meeting: Meeting, key: str) -> None:
    """It leaves what is locked, lest two transactions wait for each other."""
    leases, other = meeting.leases, store_key(new_id())
    upkeep = meeting.backend.leftovers
    assert upkeep is not None
    for dead in (key, other):
        leases.acquire(dead, "dead", 0.001)
    wait_until(lambda: leases.holders(key) + leases.holders(other) == 0, "the leases to end")
    with psycopg.connect(meeting.url) as first:
        for table in ("holders", "claims"):
            lock = f"SELECT * FROM wsgi_sessions_{table} WHERE key = %s FOR UPDATE"
            first.execute(lock.encode(), [key])
        upkeep.remove_leftovers()
    left = "SELECT key FROM wsgi_sessions_holders UNION SELECT key FROM wsgi_sessions_claims"
    with psycopg.connect(meeting.url) as connection:
        keys = {row[0] for row in connection.execute(left.encode())}
    assert key in keys
    assert other not in keys


def test_leases_and_locks_wait_for_no_disk(meeting: Meeting) -> None:
    with psycopg.connect(meeting.url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in found] == [claims.name, holders.name, locks.name]


# -- dead ones, clocks, cost -----------------------------------------------------------------------


def test_ten_thousand_abandoned_holders(
    engine: Engine, backend: Backend, leases: LeaseStore, key: str
) -> None:
    """They keep nobody out, a claim removes those of its session, and a sweep all."""
    with engine.begin() as connection:
        for name in (key, store_key(new_id())):
            rows = [
                {"key": name, "holder": f"{n}", "expires_at": 1000.0 + n} for n in range(10_000)
            ]
            connection.execute(holders.insert(), rows)
    assert leases.holders(key) == 0
    assert leases.claim(key, "refresher", LONG)
    assert backend.leftovers is not None
    assert 10_000 <= backend.leftovers.remove_leftovers()["leases"] < 10_100
    assert backend.leftovers.remove_leftovers()["leases"] == 0
    assert leases.renew(key, "refresher", LONG)


def test_a_sweep_leaves_live_processes_alone(
    backend: Backend, leases: LeaseStore, key: str
) -> None:
    claimed = store_key(new_id())
    leases.acquire(key, "a", LONG)
    leases.claim(claimed, "refresher", LONG)
    assert backend.leftovers is not None
    backend.leftovers.remove_leftovers()
    assert leases.holders(key) == 1
    assert not leases.claim(key, "refresher", LONG)
    assert not leases.acquire(claimed, "a", LONG)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_host_clock_that_is_wrong_changes_nothing(
    leases: LeaseStore, key: str, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    real = time.time
    leases.acquire(key, "a", LONG)
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    assert leases.holders(key) == 1
    assert not leases.claim(key, "refresher", LONG)
    leases.acquire(key, "b", LONG)
    monkeypatch.undo()
    assert leases.holders(key) == 2


class Statements:
    """What was sent to a database."""

    def __init__(self, engine: Engine) -> None:
        self.seen: list[tuple[str, Any]] = []
        event.listen(engine, "before_cursor_execute", self._note)

    def of(self, *calls: Callable[[], object]) -> list[tuple[str, Any]]:
        """What calls sent, with parameters, but for what begins a transaction."""
        self.seen.clear()
        for call in calls:
            call()
        return [sent for sent in self.seen if not sent[0].startswith("BEGIN")]

    def words(self, call: Callable[[], object]) -> list[str]:
        """The first words of what a call sent."""
        return [statement.split()[0] for statement, _ in self.of(call)]

    def _note(
        self, _: object, _cursor: object, statement: str, parameters: Any, *_more: Any
    ) -> None:
        self.seen.append((statement, parameters))


def test_each_operation_is_as_few_statements_as_it_can_be(
    engine: Engine, backend: Backend, leases: LeaseStore, key: str
) -> None:
    backend.sessions.ping()
    contexts, refreshes = backend.contexts, backend.refreshes
    assert contexts is not None
    assert refreshes is not None
    sent, context = Statements(engine), Context(b"value", 1.0)
    for _ in range(2):
        assert sent.words(lambda: contexts.set("alice", "deal", context)) == ["INSERT"]
    assert sent.words(lambda: contexts.get("alice", "deal")) == ["SELECT"]
    assert sent.words(lambda: contexts.clear("alice", "deal", context)) == ["DELETE"]
    assert sent.words(lambda: contexts.clear("alice", "deal")) == ["DELETE"]
    assert sent.words(lambda: refreshes.schedule(key, 5.0)) == ["INSERT"]
    assert sent.words(lambda: refreshes.due(6.0, 10)) == ["SELECT"]
    assert sent.words(lambda: refreshes.remove(key)) == ["DELETE"]
    acquiring = sent.words(lambda: leases.acquire(key, "a", LONG))
    assert acquiring == (["WITH"] if backend.name == "postgresql" else ["INSERT", "INSERT"])
    assert sent.words(lambda: leases.renew(key, "a", LONG)) == ["UPDATE"]
    assert sent.words(lambda: leases.release(key, "a")) == ["DELETE"]


def test_nothing_is_found_by_a_scan(
    engine: Engine, backend: Backend, leases: LeaseStore, key: str
) -> None:
    """As the database says of the very statements, with some rows in the tables."""
    contexts, refreshes, upkeep = backend.contexts, backend.refreshes, backend.leftovers
    assert contexts is not None
    assert refreshes is not None
    assert upkeep is not None
    with engine.begin() as connection:
        keys = [store_key(new_id()) for _ in range(2000)]
        for table, values in (
            (holders, {"holder": "x", "expires_at": 1e11}),
            (claims, {"holder": "", "expires_at": 1e11}),
            (refreshes_table, {"due_at": 1e11}),
            (contexts_table, {"record": b"x" * 200}),
        ):
            column = "id" if table is contexts_table else "key"
            connection.execute(table.insert(), [{column: name, **values} for name in keys])
        connection.exec_driver_sql("ANALYZE")
    context = Context(b"value", 1.0)
    sent = Statements(engine).of(
        lambda: leases.acquire(key, "a", LONG),
        lambda: leases.renew(key, "a", LONG),
        lambda: leases.release(key, "a"),
        lambda: leases.claim(key, "a", LONG),
        lambda: leases.release(key, "a"),
        lambda: contexts.get("alice", "deal"),
        lambda: contexts.clear("alice", "deal", context),
        lambda: refreshes.due(6.0, 10),
        lambda: refreshes.remove(key),
        upkeep.remove_leftovers,
    )
    explain = "EXPLAIN QUERY PLAN" if backend.name == "sqlite" else "EXPLAIN"
    scan = re.compile(
        r"(SCAN|Seq Scan on) wsgi_sessions_(holders|claims|refreshes|contexts)(?!.*INDEX)"
    )
    with engine.connect() as connection:
        for statement, parameters in sent:
            plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).fetchall()
            text = "\n".join(str(row[-1]) for row in plan)
            assert not scan.search(text), f"{statement}\n{text}"
        connection.rollback()
    with engine.begin() as connection:
        for table in (holders, claims, refreshes_table, contexts_table):
            connection.execute(table.delete())


# -- statements that no server here has seen -------------------------------------------------------


@pytest.mark.parametrize("dialect", ["mariadb", "mysql"])
def test_statements_to_mysql_need_nothing_that_it_lacks(dialect: str) -> None:
    engine = create_engine(f"{dialect}+pymysql://", module=SimpleNamespace(paramstyle="format"))
    leases = SqlLeases(SqlEngine(engine, label="x", timeout=1.0))
    found = [
        str(statement.compile(dialect=engine.dialect))
        for value in vars(leases).values()
        for statement in (value if isinstance(value, list) else [value])
        if isinstance(statement, ClauseElement)
    ]
    assert len(found) >= 8
    for statement in found:
        assert "ON CONFLICT" not in statement
        assert "WITH" not in statement
        assert "RETURNING" not in statement
    (lock,) = (
        statement for statement in found if statement.startswith("INSERT INTO wsgi_sessions_c")
    )
    assert "ON DUPLICATE KEY UPDATE holder = CASE WHEN" in lock
