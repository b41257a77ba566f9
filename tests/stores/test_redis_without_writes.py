"""Redis that takes no writes: what only reads goes on, with leases too, and so do log-outs."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from redis_servers import ClusterGroup, RedisServer, available
from requirements_of_tests import require
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.contract import Backend

KEY = hashlib.sha256(b"a session").hexdigest()
REFUSALS = {
    "OOM": ("CONFIG", "SET", "maxmemory", "1"),
    "NOREPLICAS": ("CONFIG", "SET", "min-replicas-to-write", "1"),
    "READONLY": ("REPLICAOF", "127.0.0.1", "1"),
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


@contextmanager
def opened(url: str) -> Iterator[Backend]:
    with closing(open_backend(url)) as backend:
        backend.sessions.create(KEY, b"kept", time.time() + 600)
        yield backend


def is_read(backend: Backend) -> bool:
    assert backend.leased_loading is not None
    record, held = backend.leased_loading.load_and_acquire(KEY, "a request", 30)
    assert record is not None
    return (record.payload, held) == (b"kept", True)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_session_is_read_while_no_write_is_taken(
    server: RedisServer, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(server.url) as backend, caplog.at_level(logging.WARNING):
        server.command(*REFUSALS[refusal])
        assert is_read(backend)
    # When memory is full, Redis lets a script go on that has freed some: the lease is held.
    assert ("is used without a lease" in caplog.text) == (refusal != "OOM")


@pytest.mark.soak
def test_a_session_is_read_while_its_slot_moves(caplog: pytest.LogCaptureFixture) -> None:
    require(available())
    with ClusterGroup() as cluster, opened(cluster.url) as backend, caplog.at_level("WARNING"):
        name = f"session:{{{KEY}}}"
        source = cluster.owner(name)
        target = next(node for node in cluster.nodes if node is not source)
        slot = source.command("CLUSTER", "KEYSLOT", name)
        for node, state, other in ((target, "IMPORTING", source), (source, "MIGRATING", target)):
            number = other.command("CLUSTER", "MYID").decode()
            node.command("CLUSTER", "SETSLOT", slot, state, number)
        assert is_read(backend)
        assert "is used without a lease" in caplog.text


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    if environ["PATH_INFO"] == "/login":
        session.login("alice")
    elif environ["PATH_INFO"] == "/logout":
        session.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(session.principal).encode()]


def test_pages_and_log_outs_go_on_when_memory_is_full(server: RedisServer) -> None:
    config = Config(url=server.url, secret_keys=("s" * 40,), cookie=CookiePolicy(secure="never"))
    with closing(build(application, config, refresh=lambda session: None)) as app:
        browser = Browser(app)
        browser.get("/login")
        server.command(*REFUSALS["OOM"])
        assert browser.get("/read").body == b"alice"
        before = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        assert browser.get("/logout").status == 200
        assert browser.get("/read", cookie=before).body == b"None"
