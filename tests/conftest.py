"""Servers that the end-to-end tests share, and the long runs that only ``--soak`` makes."""

from __future__ import annotations

import itertools
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer
from hypothesis import HealthCheck, settings
from race_app import MERGE
from redis_servers import RedisServer, available
from requirements_of_tests import require
from spreads import SPREAD
from store_urls import STORES, Place, of_the_table, place_of, postgresql_url, sqlite_url

from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.testing.clock import MovedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend

# No property depends on time: a busy machine must not fail one.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="make the long runs under load too")


def pytest_configure() -> None:
    # A shell that runs the tests in the background has them ignore Ctrl+C, and so would the
    # programs that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.getoption("-m")
    left_out = {name for name in ("soak", "histories") if name not in asked}
    if config.getoption("--soak"):
        left_out -= {"soak"}
    long_ones = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=long_ones)
    deselected = set(map(id, long_ones))
    items[:] = [item for item in items if id(item) not in deselected]
    # A file goes to one worker as a whole: those that start servers take longest, so they are
    # handed out first, and the last worker is not left alone with one.
    items.sort(key=lambda item: item.path.parent.name != "servers")


# -- the contract of stores ------------------------------------------------------------------------

_numbers = itertools.count()


@pytest.fixture(scope="module", params=of_the_table())
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store of the table: its name there, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


@pytest.fixture
def place(contract_store: tuple[str, str], tmp_path: Path) -> Place:
    """An empty place in each store. What is special in a pattern is part of its prefix."""
    return place_of(*contract_store, tmp_path, f"te*st[{next(_numbers)}]:")


@pytest.fixture
def backend(place: Place) -> Iterator[Backend]:
    """Each store, empty."""
    with closing(place.open()) as opened:
        yield opened


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    """The time of this process, which the test may move forward."""
    moved = MovedClock()
    yield moved
    moved.restore()


@pytest.fixture
def key() -> str:
    """The store key of a session that is not there."""
    return store_key(new_id())


# -- end to end ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def end_to_end_redis() -> Iterator[RedisServer]:
    """The Redis of the shared servers: always up."""
    require(available())
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str | None]:
    """Where a server is to keep its sessions: a new database, the one Redis, or (None) a folder of
    the server's own."""

    def url_of(store: str) -> str | None:
        if store == "sqlite":
            return sqlite_url(tmp_path_factory.mktemp(store))
        if store == "postgresql":
            return postgresql_url()
        if store == "redis":
            redis: RedisServer = request.getfixturevalue("end_to_end_redis")
            return redis.url
        return None

    return url_of


@pytest.fixture(scope="session", params=SPREAD, ids="-".join)
def shared_server(
    request: pytest.FixtureRequest, store_url: Callable[[str], str | None]
) -> Iterator[GunicornServer]:
    """One gunicorn for each store and worker class; pytest groups the tests by it."""
    store, worker_class = request.param
    url = store_url(store)
    environ = {
        "WSGI_SESSIONS_KEY_PREFIX": f"{worker_class}:",
        "WSGI_SESSIONS_MERGE": MERGE,
        "WSGI_SESSIONS_RETRY_PATHS": "/retried",
        "WSGI_SESSIONS_EXCLUSIVE_WAITERS": "50",  # a test of overlaps sends them all at once
    }
    with GunicornServer(worker_class=worker_class, url=url, environ=environ) as server:
        yield server


@pytest.fixture
def server(shared_server: GunicornServer) -> Iterator[GunicornServer]:
    """The shared server, which must get through a test without an unexpected exception."""
    before = len(shared_server.log())
    shared_server.forget_events()
    yield shared_server
    log = shared_server.log()[before:]
    assert "Traceback" not in log, log
