"""The contract of `LeaseStore`, `LeasedLoading` and `RefreshQueue`, held against every store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from opened_places import open_place
from redis_proxy import CuttingProxy
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from store_urls import LONG_BESIDE_SESSIONS, STORES, Place, of_the_table

from wsgi_sessions.identity import new_id
from wsgi_sessions.stores.redis import leases as redis_leases
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.testing import LeaseStoreContract, RefreshQueueContract, StoreUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend, LeaseStore, RefreshQueue

LONG = 60.0
SHORT = 0.05


def leases_of(backend: Backend) -> LeaseStore:
    assert backend.leases is not None
    return backend.leases


@pytest.fixture(scope="module", params=of_the_table(long=LONG_BESIDE_SESSIONS))
def contract_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Each store: its name in the table, and a URL."""
    with STORES[request.param](tmp_path_factory.mktemp("files")) as url:
        yield request.param, url


@pytest.fixture
def leases(backend: Backend) -> LeaseStore:
    return leases_of(backend)


@pytest.fixture
def refreshes(backend: Backend) -> RefreshQueue:
    assert backend.refreshes is not None
    return backend.refreshes


class TestLeases(LeaseStoreContract, RefreshQueueContract):
    """What a store of another project would be held to."""

    @pytest.fixture
    def store(self, place: Place) -> StoreUnderTest:
        return StoreUnderTest(
            partial(open_place, place.own_url, place.prefix),
            processes="one" if place.name == "memory" else "all",
        )


# -- processes ---------------------------------------------------------------------------------

HOLD = """
import sys
from wsgi_sessions.stores.urls import open_backend
url, prefix, key, role, ttl = sys.argv[1:]
leases = open_backend(url, key_prefix=prefix, timeout=5.0).leases
assert getattr(leases, role)(key, "other process", float(ttl))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(
    place: Place, key: str, role: str, ttl: float
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds or claims the session."""
    if place.name == "memory":
        pytest.skip("memory is of one process")
    command = [sys.executable, "-c", HOLD, place.own_url, place.prefix, key, role, str(ttl)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("role", ["acquire", "claim"])
def test_a_killed_process_blocks_no_longer_than_its_ttl(
    place: Place, leases: LeaseStore, key: str, role: str
) -> None:
    """At once in files, where the kernel knows of its death."""
    ttl = LONG if place.name == "file" else 1.0
    with other_process(place, key, role, ttl) as process:
        assert not leases.claim(key, "refresher", LONG)
        process.kill()
        process.wait()
        if place.name == "file":
            assert leases.holders(key) == 0
            assert leases.claim(key, "refresher", LONG)
        else:
            assert not leases.claim(key, "refresher", LONG)
            wait_until(lambda: leases.claim(key, "refresher", LONG), "the lease to end")


def test_a_stopped_process_loses_its_lease_in_time(
    place: Place, leases: LeaseStore, key: str
) -> None:
    with other_process(place, key, "acquire", 0.5) as process:
        process.send_signal(signal.SIGSTOP)
        assert not leases.claim(key, "refresher", LONG)
        wait_until(lambda: leases.claim(key, "refresher", LONG), "the lease to end")
        process.send_signal(signal.SIGCONT)


# -- files -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def files(folder: Path) -> Backend:
    return open_backend(f"file://{folder}")


def contents(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_nothing_stays_in_the_folder_once_a_session_is_unused(
    files: Backend, folder: Path, key: str
) -> None:
    leases = leases_of(files)
    for turn in range(3):
        leases.acquire(key, f"a{turn}", LONG)
        leases.claim(key, "refresher", LONG)
        assert contents(folder / "leases") == [key]
        leases.release(key, f"a{turn}")
        leases.claim(key, "refresher", LONG)
        leases.release(key, "refresher")
        assert contents(folder / "leases") == []
    assert leases.holders(key) == 0
    assert not leases.renew(key, "a", LONG)
    leases.release(key, "a")
    assert contents(folder / "leases") == []


def test_the_sweep_removes_what_dead_processes_left_and_nothing_else(
    files: Backend, folder: Path, key: str
) -> None:
    place, alive, busy = Place("file", f"file://{folder}", ""), new_id(), new_id()
    leases = leases_of(files)
    leases.acquire(alive, "a", LONG)
    with other_process(place, key, "acquire", LONG):
        assert files.leftovers is not None
        assert files.leftovers.remove_leftovers()["leases"] == 0
        leases.claim(busy, "refresher", LONG)
        assert sorted(contents(folder / "leases")) == sorted([alive, busy, key])
    assert files.leftovers.remove_leftovers()["leases"] == 2  # its table, and its own file
    assert sorted(contents(folder / "leases")) == sorted([alive, busy])
    assert len(contents(folder / "processes")) == 1
    assert leases.holders(alive) == 1


def test_sessions_in_use_cost_no_descriptors(files: Backend) -> None:
    leases = leases_of(files)
    leases.acquire("first", "a", LONG)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        leases.acquire(f"{number:02}", "a", LONG)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forked_child_holds_nothing_of_its_parent(files: Backend, folder: Path, key: str) -> None:
    """The parent dies while its child lives on: its leases end with it."""
    program = HOLD.replace(
        "sys.stdin.read()",
        "import os\nif os.fork():\n  os.kill(os.getpid(), 9)\nelse:\n  sys.stdin.read()",
    )
    command = [sys.executable, "-c", program, f"file://{folder}", "", key, "acquire", str(LONG)]
    leases = leases_of(files)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.wait()
        # The child closes what it inherited in the first moments of its own.
        wait_until(lambda: leases.claim(key, "refresher", LONG), "the dead parent's lease to end")


FORK = """
import os, sys
from wsgi_sessions.stores.urls import open_backend
leases, key = open_backend(f"file://{sys.argv[1]}").leases, sys.argv[2]
leases.acquire(key, "parent", 60)
child = os.fork()
if child == 0:
    sys.exit(not (leases.acquire(key, "child", 60) and leases.holders(key) == 2))
assert os.waitpid(child, 0)[1] == 0
print(leases.holders(key), leases.acquire(key, "second", 60), leases.holders(key))
"""


def test_a_forked_child_has_a_life_of_its_own(folder: Path, key: str) -> None:
    """It dies and gives up its own lease only: the parent's stays, locked as before."""
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(folder), key]
    assert subprocess.check_output(command) == b"1 True 2\n"


@pytest.mark.parametrize("junk", [b"", b"[[", b"\x00" * 5000, b'{"a": 1}', b'[["x",1,2,3,4]]'])
def test_a_damaged_table_starts_empty(files: Backend, folder: Path, key: str, junk: bytes) -> None:
    leases = leases_of(files)
    leases.acquire(key, "a", LONG)
    (path,) = (folder / "leases").rglob(key)
    path.write_bytes(junk)
    assert leases.holders(key) == 0
    path.parent.mkdir(exist_ok=True)
    assert leases.acquire(key, "b", LONG)
    assert leases.holders(key) == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_hurts_no_longer_than_a_ttl(
    folder: Path, key: str, hours: float
) -> None:
    now = [time.time()]
    leases = leases_of(open_backend(f"file://{folder}", clock=lambda: now[0]))
    leases.acquire(key, "a", 30.0)
    now[0] += 3600 * hours
    if hours < 0:
        assert not leases.claim(key, "refresher", LONG)
    assert leases.renew(key, "a", 30.0) == (hours < 0)
    now[0] += 31
    assert leases.claim(key, "refresher", LONG)


# -- Redis -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_backend(redis_server: RedisServer) -> Iterator[Backend]:
    redis_server.command("FLUSHALL")
    with closing(open_backend(redis_server.url)) as backend:
        yield backend


def test_ten_thousand_abandoned_holders_go_at_the_next_look(
    redis_server: RedisServer, redis_backend: Backend, key: str
) -> None:
    name = f"session:holders:{{{key}}}"
    with closing(redis_server.client()) as client:
        client.zadd(name, {f"abandoned {n}": 1000.0 + n for n in range(10_000)})
        assert leases_of(redis_backend).acquire(key, "a", LONG)
        assert client.zcard(name) == 1
        assert 0 < client.pttl(name) <= LONG * 1000


def test_nothing_stays_on_the_server(
    redis_server: RedisServer, redis_backend: Backend, key: str
) -> None:
    leases = leases_of(redis_backend)
    leases.acquire(key, "a", LONG)
    leases.release(key, "a")
    leases.claim(key, "refresher", LONG)
    leases.release(key, "refresher")
    leases.acquire(key, "dead", SHORT)
    wait_until(lambda: redis_server.command("DBSIZE") == 0, "the leases to expire")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_host_clock_that_is_wrong_changes_nothing(
    redis_backend: Backend, key: str, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    leases, real = leases_of(redis_backend), time.time
    leases.acquire(key, "a", LONG)
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    assert leases.holders(key) == 1
    assert not leases.claim(key, "refresher", LONG)
    leases.acquire(key, "b", LONG)
    monkeypatch.undo()
    assert leases.holders(key) == 2
    assert not hasattr(redis_leases, "time")


@pytest.mark.parametrize("operation", ["acquire", "load_and_acquire", "claim", "release"])
def test_a_lost_reply_is_as_good_as_none_lost(
    redis_server: RedisServer, redis_backend: Backend, key: str, operation: str
) -> None:
    redis_backend.sessions.create(key, b"x", time.time() + 100)
    direct = leases_of(redis_backend)
    with (
        closing(CuttingProxy(redis_server)) as proxy,
        closing(open_backend(proxy.url, timeout=5.0)) as proxied,
    ):
        proxied.sessions.ping()
        leases, loading = leases_of(proxied), proxied.leased_loading
        assert loading is not None
        if operation == "release":
            leases.acquire(key, "a", LONG)
        proxy.cut()
        before = proxy.connections
        if operation == "acquire":
            assert leases.acquire(key, "a", LONG)
        elif operation == "load_and_acquire":
            assert loading.load_and_acquire(key, "a", LONG)[1]
        elif operation == "claim":
            assert leases.claim(key, "a", LONG)
        else:
            leases.release(key, "a")
        assert proxy.connections > before  # it was sent again
    assert direct.holders(key) == (1 if "acquire" in operation else 0)
    assert direct.claim(key, "b", LONG) == (operation == "release")


def test_a_damaged_record_is_set_aside_and_not_held(
    redis_server: RedisServer, redis_backend: Backend, key: str
) -> None:
    redis_server.command("SET", f"session:{{{key}}}", "no record")
    assert redis_backend.leased_loading is not None
    record, _ = redis_backend.leased_loading.load_and_acquire(key, "a", LONG)
    assert record is None
    assert redis_backend.quarantine is not None
    assert redis_backend.quarantine.quarantined() == 1


# -- what is due -------------------------------------------------------------------------------


def test_a_damaged_table_of_refreshes_starts_empty(files: Backend, folder: Path, key: str) -> None:
    assert files.refreshes is not None
    files.refreshes.schedule(key, 1000.0)
    (folder / "refreshes" / key[:2]).write_bytes(b"{")
    assert files.refreshes.due(5000000000.0, 5) == []
    files.refreshes.schedule(key, 1000.0)
    assert files.refreshes.due(1000.0, 5) == [key]
