"""The contract of `EndTraces`, held against every store; and a Redis whose memory is full."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from opened_places import open_place
from redis_servers import RedisServer, available
from requirements_of_tests import require
from store_urls import LONG_BESIDE_SESSIONS, STORES, Place, of_the_table

from wsgi_sessions.endings import EndTrace
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.file.endings import FileEndings
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.testing import EndTracesContract, StoreUnderTest
from wsgi_sessions.testing.contract.under_test import another_key, later

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=of_the_table(long=LONG_BESIDE_SESSIONS))
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store: its name in the table, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


class TestTraces(EndTracesContract):
    """What a store of another project would be held to."""

    @pytest.fixture
    def store(self, place: Place) -> StoreUnderTest:
        return StoreUnderTest(
            partial(open_place, place.own_url, place.prefix),
            processes="one" if place.name == "memory" else "all",
        )


def test_a_trace_is_kept_on_a_redis_whose_memory_is_full() -> None:
    require(available())
    with RedisServer() as server:
        backend = open_backend(server.url)
        assert backend.endings is not None
        key = another_key()
        with server.client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 1)
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable):
                backend.sessions.create(key, b"x", later())
            backend.endings.keep([EndTrace(key, "logged-out", 1.0, user="a" * 10)], 100.0)
            assert backend.endings.trace_of(key) == EndTrace(key, "logged-out", 1.0, user="a" * 10)
            client.config_set("maxmemory", 0)
        backend.close()


def test_all_traces_on_redis_expire_with_the_last_one() -> None:
    require(available())
    with RedisServer() as server:
        backend = open_backend(server.url)
        assert backend.endings is not None
        backend.endings.keep([EndTrace(another_key(), "revoked", 1.0)], 100.0)
        with server.client() as client:
            assert all(90_000 < client.pttl(name) <= 100_000 for name in client.keys("*"))
        backend.close()


def test_a_line_that_was_cut_off_or_damaged_is_skipped(tmp_path: Path) -> None:
    traces = FileEndings(str(tmp_path))
    keys = [f"ab{number}{another_key()[3:]}" for number in range(3)]
    traces.keep([EndTrace(keys[0], "revoked", 1.0)], 100.0)
    file = tmp_path / "endings" / "ab"
    with file.open("ab") as opened:
        opened.write(b'\n{"key":"ab1')
    traces.keep([EndTrace(keys[2], "revoked", 2.0)], 100.0)
    assert [trace.key for trace in traces.matching("ab", 5)] == [keys[0], keys[2]]
    assert oct(file.stat().st_mode & 0o777) == "0o600"
