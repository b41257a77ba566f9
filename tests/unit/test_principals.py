"""Sessions found by their principal: listed, ended, and the index that repairs itself."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from around import around
from redis_servers import RedisServer, available
from requirements_of_tests import require
from sqlalchemy import event
from store_urls import postgresql_url, sqlite_url
from worlds import HOUR, World, id_of, login

from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.stores.sql.backend import open_sql
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture
def world() -> World:
    return World(lifetimes=Lifetimes(idle=HOUR, absolute=1000 * HOUR))


def keys_of(world: World, principal: str = "alice") -> list[str]:
    return [session.key for session in world.manager.sessions_of(principal)]


def failing(*_: Any) -> Any:
    raise StoreUnavailable("down")


# -- nothing is lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["create", "add"])
def test_a_listing_during_a_log_in_does_not_lose_the_session(world: World, step: str) -> None:
    """Listing removes what it takes for dead, which a session that is being made must not be."""
    target = world.backend.sessions if step == "create" else world.backend.index
    around(target, step, lambda: world.manager.sessions_of("alice"))
    session_id = login(world)
    assert keys_of(world) == [store_key(session_id)]


def test_a_log_in_that_cannot_be_indexed_does_not_happen(world: World) -> None:
    world.backend.index.add = failing  # type: ignore[assignment, method-assign]
    with pytest.raises(StoreUnavailable):
        login(world)
    assert world.backend.iteration.count() == 0


@pytest.mark.parametrize("use", ["read", "write"])
def test_a_session_in_use_puts_its_lost_entry_back(world: World, use: str) -> None:
    session_id = login(world)
    world.backend.index.remove("alice", store_key(session_id))
    for minutes, expected in ((1, []), (6, [store_key(session_id)])):
        world.now += minutes * 60
        request = world.begin(session_id)
        assert request.session.principal == "alice"
        if use == "write" and expected:
            request.session["n"] = minutes
        request.commit()
        assert keys_of(world) == expected


@pytest.mark.parametrize("use", ["read", "write"])
def test_a_fault_while_it_is_put_back_fails_no_request(world: World, use: str) -> None:
    session_id = login(world)
    world.backend.index.add = failing  # type: ignore[assignment, method-assign]
    world.now += HOUR / 2
    request = world.begin(session_id)
    request.session.get("n")
    if use == "write":
        request.session["n"] = 1
    assert request.commit() == ("saved" if use == "write" else "touched")


def test_an_anonymous_session_is_never_indexed(world: World) -> None:
    session_id = world.new(n=1)
    world.backend.index.add = failing  # type: ignore[assignment, method-assign]
    world.now += HOUR / 2
    request = world.begin(session_id)
    request.session["n"] = 2
    assert request.commit() == "saved"


# -- ended -----------------------------------------------------------------------------------------


def test_ending_one_session_removes_its_entry(world: World) -> None:
    first, second = (store_key(login(world)) for _ in range(2))
    world.manager.destroy(first)
    assert world.backend.index.keys_of("alice") == [second]


def test_ending_all_finds_a_session_that_is_getting_another_id(world: World) -> None:
    session_id = login(world)
    cycling = world.begin(session_id)
    cycling.session.cycle_id()
    around(world.backend.sessions, "delete", cycling.commit)
    world.manager.destroy_sessions_of("alice")
    assert id_of(cycling) != session_id
    assert world.begin(id_of(cycling)).session.principal is None
    assert keys_of(world) == []


def test_ending_all_finds_one_that_got_another_id_after_it_was_listed(world: World) -> None:
    session_id = login(world)
    cycling = world.begin(session_id)
    cycling.session.cycle_id()
    keys = world.backend.index.keys_of

    def listing(principal: str) -> list[str]:
        listed = keys(principal)
        if cycling.snapshot is not None and id_of(cycling) == session_id:
            cycling.commit()
        return listed

    world.backend.index.keys_of = listing  # type: ignore[method-assign]
    world.manager.destroy_sessions_of("alice")
    assert id_of(cycling) != session_id
    assert world.begin(id_of(cycling)).session.principal is None


def test_ending_all_finishes_while_a_user_logs_in_again_and_again(world: World) -> None:
    login(world)
    delete = world.backend.sessions.delete

    def deleting(key: str) -> None:
        delete(key)
        login(world)

    world.backend.sessions.delete = deleting  # type: ignore[method-assign]
    assert world.manager.destroy_sessions_of("alice") > 1


# -- without a scan --------------------------------------------------------------------------------


def test_a_session_is_kept_by_its_key(world: World) -> None:
    other = login(world)
    session_id = login(world)
    session = world.begin(session_id).session
    assert session.key == store_key(session_id)
    assert world.begin().session.key is None
    assert world.manager.destroy_sessions_of("alice", keep=session.key) == 1
    assert world.manager.loader.load(other) is None
    assert world.manager.loader.load(session_id) is not None


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


def test_redis_reads_only_the_sessions_of_the_principal(redis: RedisServer) -> None:
    backend = open_backend(redis.url, timeout=5.0)
    manager = SessionManager(backend)
    world = World()
    world.backend, world.manager = backend, manager
    mine = [store_key(login(world)) for _ in range(3)]
    for number in range(100):
        login(world, f"user {number}")
    before = commands(redis)
    assert {session.key for session in manager.sessions_of("alice")} == set(mine)
    assert commands(redis, before) == {"zrange": 1, "get": 3}
    assert manager.destroy_sessions_of("alice", keep=mine[0]) == 2
    assert not commands(redis, before).keys() & {"scan", "keys"}
    assert backend.index.keys_of("alice") == [mine[0]]
    backend.close()


_OUR_OWN = ("info", "client", "hello")  # of the connection that counts


def commands(server: RedisServer, before: dict[str, int] | None = None) -> dict[str, int]:
    """How often each command was run, since `before`."""
    with server.client() as client:
        stats = client.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    earlier = before or {}
    since = {name: count - earlier.get(name, 0) for name, count in counts.items()}
    return {name: c for name, c in since.items() if c and name.split("|")[0] not in _OUR_OWN}


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_in_sql_every_statement_goes_by_an_index(database: str, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path) if database == "sqlite" else postgresql_url()
    engine = connect_sql(parse_sql_url(url), 5.0, create="nothing")
    world = World()
    world.backend = open_sql(engine, timeout=5.0)
    world.manager = SessionManager(world.backend)
    mine = [store_key(login(world)) for _ in range(3)]
    for number in range(30):
        login(world, f"user {number}")
    with statements(engine) as listing:
        assert {session.key for session in world.manager.sessions_of("alice")} == set(mine)
    assert len(listing) == 1 + 3
    with statements(engine) as ending:
        assert world.manager.destroy_sessions_of("alice", keep=mine[0]) == 2
    assert len(ending) == 2 + 2 * 3
    for statement in listing + ending:
        plan = "\n".join(plan_of(engine, statement))
        # A search in the index by expiry would be a scan too: nearly all are live.
        assert re.search(r"\((key|principal)=\?|Index Cond: .*\b(key|principal)\b.* = ", plan), plan
        assert not re.search(r"^SCAN|Seq Scan", plan, re.MULTILINE), plan
    engine.dispose()


Statement = tuple[str, Any]


@contextmanager
def statements(engine: Engine) -> Iterator[list[Statement]]:
    """What is run on our tables meanwhile."""
    seen: list[Statement] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "wsgi_sessions" in statement and "wsgi_sessions_schema" not in statement:
            seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plan_of(engine: Engine, statement: Statement) -> list[str]:
    """How the database would find the rows; as if they were many, since few are read whole."""
    text, parameters = statement
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)
        else:
            connection.exec_driver_sql("SET enable_seqscan = off")
            rows = connection.exec_driver_sql(f"EXPLAIN {text}", parameters)
        return [str(row[-1]) for row in rows]
