"""What a Redis server has to allow its user: documented, sufficient, and tried by `check`."""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from documents import PAGES
from redis_servers import ClusterGroup, RedisServer, available
from requirements_of_tests import require

import wsgi_sessions
from wsgi_sessions.cli import main
from wsgi_sessions.contract import Context
from wsgi_sessions.errors import SessionExists, StoreUnavailable
from wsgi_sessions.stores.redis.backend import open_redis
from wsgi_sessions.stores.redis.rights import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend

KEY = "a" * 64
ROOT = Path(wsgi_sessions.__file__).parent
OPTIONAL = {"ROLE", "CONFIG"}  # of Sentinel, and of advice
ELSEWHERE = {"ASKING", "CLUSTER", "SENTINEL", "AUTH", "SELECT"}
PREFIX = "session:"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as running:
        yield running


def user_url(server: RedisServer, *rights: str) -> str:
    server.command("ACL", "SETUSER", "app", "reset", "on", ">secret", *rights)
    return server.url.replace("//", "//app:secret@")


def rights(*without: str) -> list[str]:
    return [f"~{PREFIX}*", *(f"+{name.lower()}" for name in needed() if name not in without)]


def use_everything(backend: Backend) -> None:
    """Every operation of every ability."""
    assert backend.leases is not None
    assert backend.leased_loading is not None
    assert backend.lease_listing is not None
    assert backend.refreshes is not None
    assert backend.versions is not None
    assert backend.contexts is not None
    assert backend.clock is not None
    assert backend.quarantine is not None
    soon, sessions = time.time() + 60, backend.sessions
    sessions.create(KEY, b"x", soon)
    with pytest.raises(SessionExists):
        sessions.create(KEY, b"x", soon)
    sessions.save(KEY, b"y", soon, expected_version=1)
    sessions.touch(KEY, soon + 60)
    assert backend.leased_loading.load_and_acquire(KEY, "holder", 30)[1]
    assert backend.leases.renew(KEY, "holder", 30)
    assert backend.leases.holders(KEY) == 1
    assert list(backend.lease_listing.leases())
    backend.leases.release(KEY, "holder")
    assert backend.leases.claim(KEY, "claimant", 30)
    assert backend.leases.renew(KEY, "claimant", 30)
    assert list(backend.lease_listing.leases())
    backend.leases.release(KEY, "claimant")
    assert backend.leases.acquire(KEY, "holder", 30)
    with backend.locks.hold(KEY, 1):
        pass
    backend.index.add("alice", KEY, soon)
    assert backend.index.keys_of("alice") == [KEY]
    backend.index.remove("alice", KEY)
    assert backend.iteration.count() == 1
    backend.refreshes.schedule(KEY, 1.0)
    assert backend.refreshes.due(2.0, 5) == [KEY]
    backend.refreshes.remove(KEY)
    backend.versions.bump("league", least=5)
    assert backend.versions.current(["league"]) == {"league": 5}
    assert backend.versions.history("league")
    context = Context(b"value", 1.0)
    backend.contexts.set("alice", "team", context)
    assert backend.contexts.add("bob", "team", context)
    assert backend.contexts.get("alice", "team") == context
    assert len(list(backend.contexts.items())) == 2
    backend.contexts.clear("alice", "team", context)
    backend.contexts.clear("bob", "team")
    assert backend.clock.now()
    backend.quarantine.set_aside(KEY, 2, "damaged")
    assert backend.quarantine.quarantined() == 1
    sessions.delete(KEY)
    sessions.ping()


def test_a_user_with_exactly_the_listed_commands_can_do_everything(server: RedisServer) -> None:
    with closing(open_redis(user_url(server, *rights()))) as backend:
        use_everything(backend)
        assert backend.rights is not None
        assert backend.rights.warnings() == []
        assert backend.advice is not None
        assert backend.advice.warnings() == []  # which needs more, and goes without


def test_the_list_is_what_the_code_sends() -> None:
    text = "".join(path.read_text() for path in (ROOT / "stores" / "redis").rglob("*.py"))
    inside = set(re.findall(r"redis\.call\('([A-Z]+)'", text))
    sent = set(re.findall(r'(?:execute|execute_once|run)\([^()]*?"([A-Z]{3,})"', text))
    sent |= set(re.findall(r'(?:command|words) = \("([A-Z]{3,})"', text))
    assert inside | sent >= {"SCAN", "SET", "ZADD", "EVALSHA", "HSETNX"}
    missing = (inside | sent) - set(needed()) - OPTIONAL - ELSEWHERE
    assert not missing


def test_the_documents_list_them() -> None:
    found = re.search(
        r"ACL SETUSER app on >\S+ ~session:\*((?:\s+\+[a-z]+)+)", PAGES["howto/redis"]
    )
    assert found is not None
    listed = {word[1:].upper() for word in found.group(1).split()}
    assert listed == set(needed())


@pytest.mark.parametrize("command", [name for name in needed() if name != "MULTI"])
def test_check_names_a_command_that_is_forbidden(server: RedisServer, command: str) -> None:
    url = user_url(server, *rights(command))
    with closing(open_redis(url)) as backend:
        assert backend.rights is not None
        (text,) = backend.rights.warnings()
    assert f" {command}," in text
    assert f"+{command.lower()}" in text


def test_check_reports_it_as_a_fault_with_the_line_to_run(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "s" * 32)
    url = user_url(server, *rights("ZADD", "HSETNX"))
    result = CliRunner().invoke(main, ["check", "--url", url])
    assert result.exit_code == 1
    assert "ACL SETUSER app +hsetnx +zadd" in result.stdout
    assert "secret" not in result.stdout.replace("secrets", "")


def test_without_the_right_to_try_that_one_is_asked_for(server: RedisServer) -> None:
    with closing(open_redis(user_url(server, *rights("MULTI", "ZADD")))) as backend:
        assert backend.rights is not None
        (text,) = backend.rights.warnings()
    assert "+multi" in text


def test_keys_that_the_user_may_not_touch_are_named_by_their_pattern(server: RedisServer) -> None:
    url = user_url(server, "~session:{*", *rights()[1:])
    with closing(open_redis(url)) as backend:
        assert backend.rights is not None
        (text,) = backend.rights.warnings()
    assert "~session:*" in text


def test_trying_writes_nothing(server: RedisServer) -> None:
    server.command("FLUSHALL")
    with closing(open_redis(user_url(server, *rights()))) as backend:
        assert backend.rights is not None
        backend.rights.warnings()
    assert server.command("DBSIZE") == 0


def test_a_command_that_was_renamed_is_named_too() -> None:
    with (
        RedisServer(options={"rename-command": 'HSETNX ""'}) as server,
        closing(open_redis(server.url)) as backend,
    ):
        assert backend.rights is not None
        (text,) = backend.rights.warnings()
    assert "HSETNX" in text


def test_a_server_that_does_not_answer_is_a_fault() -> None:
    with RedisServer() as server:
        url = server.url
    with closing(open_redis(url)) as backend:
        assert backend.rights is not None
        with pytest.raises(StoreUnavailable):
            backend.rights.warnings()


@pytest.mark.soak
def test_on_a_cluster_every_node_is_tried() -> None:
    require(available())
    with ClusterGroup() as cluster:
        allowed = [f"+{name.lower()}" for name in needed("cluster")]
        for node in cluster.nodes:
            node.command("ACL", "SETUSER", "app", "on", ">secret", "~session:*", *allowed)
        cluster.nodes[-1].command("ACL", "SETUSER", "app", "-zscore")
        with closing(open_redis(cluster.url.replace("//", "//app:secret@"))) as backend:
            assert backend.rights is not None
            (text,) = backend.rights.warnings()
    assert "ZSCORE" in text
