"""Servers that the end-to-end tests share, and the long runs that only ``--soak`` makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gunicorn_server import WORKER_CLASSES, GunicornServer
from hypothesis import HealthCheck, settings
from redis_servers import RedisServer, available
from requirements_of_tests import require

if TYPE_CHECKING:
    from collections.abc import Iterator

# No property depends on time: a busy machine must not fail one.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

STORES = ("file", "redis")
COMBINATIONS = [(store, worker_class) for store in STORES for worker_class in WORKER_CLASSES]
# Each store and each worker class once; the other combinations only in the long runs.
_EACH_ONCE = [("file", "gthread"), ("redis", "sync"), ("redis", "gevent")]
SPREAD = [
    pytest.param(pair, marks=[] if pair in _EACH_ONCE else [pytest.mark.soak])
    for pair in COMBINATIONS
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="make the long runs under load too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak") or "soak" in config.getoption("-m"):
        return
    long_ones = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=long_ones)
    items[:] = [item for item in items if item not in long_ones]


@pytest.fixture(scope="session")
def end_to_end_redis() -> Iterator[RedisServer]:
    """The Redis of the shared servers: always up."""
    require(available())
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session", params=COMBINATIONS, ids="-".join)
def shared_server(request: pytest.FixtureRequest) -> Iterator[GunicornServer]:
    """One gunicorn for each store and worker class; pytest groups the tests by it."""
    store, worker_class = request.param
    url = None
    if store == "redis":
        url = request.getfixturevalue("end_to_end_redis").url
    environ = {"WSGI_SESSIONS_KEY_PREFIX": f"{worker_class}:"}
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
