"""Redis over TLS: servers, sentinels and cluster nodes are believed by their certificates alone.

Each server here has a TLS front, a proxy with a certificate made for the test.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from listeners import Listener
from redis.connection import SSLConnection
from redis_servers import SLOTS, RedisServer, available, free_port, wait_until
from requirements_of_tests import require

from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.importers.urls import ImportOptions, open_importer
from wsgi_sessions.stores.redis.wire import endpoints
from wsgi_sessions.stores.redis.wire.url import parse_url
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.contract import Backend

KEY = hashlib.sha256(b"a session").hexdigest()
PASSWORD = "the-servers-password"


class Front(Listener):
    """A TLS server on loopback that passes all bytes on in the clear, and keeps those it got."""

    def __init__(self, pem: Path, target: tuple[str, int], port: int = 0) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(pem)
        self._target = target
        self.heard = b""
        super().__init__(port)

    def serve(self, client: socket.socket) -> None:
        with (
            self._context.wrap_socket(client, server_side=True) as encrypted,
            socket.create_connection(self._target) as upstream,
        ):
            # The store has one command on the way, or a greeting of two with short replies.
            while command := encrypted.recv(65536):
                self.heard += command
                upstream.sendall(command)
                encrypted.sendall(upstream.recv(65536))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Self-signed certificates with their keys, by the name that they are for."""
    require(None if shutil.which("openssl") else "no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")

    @functools.cache
    def made(name: str) -> Path:
        path = folder / f"{name.replace(':', '-')}.pem"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN=test -addext subjectAltName={name} -keyout {path} -out {path}.crt"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        path.write_text(path.read_text() + (folder / f"{path.name}.crt").read_text())
        return path

    return made


@pytest.fixture
def server() -> Iterator[RedisServer]:
    require(available())
    with RedisServer(options={"requirepass": PASSWORD}) as server:
        yield server


@pytest.fixture(params=["this release of redis-py", "one that verifies no host name by itself"])
def _client_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "this release of redis-py":
        monkeypatch.setattr(endpoints, "_tls", _by_the_former_default)


def _by_the_former_default(*, ssl_check_hostname: bool = False, **options: Any) -> SSLConnection:
    """As in redis-py before 6."""
    return SSLConnection(ssl_check_hostname=ssl_check_hostname, **options)


def works(backend: Backend) -> bool:
    backend.sessions.create(KEY, b"x", time.time() + 60)
    return backend.sessions.load(KEY) is not None


@pytest.mark.usefixtures("_client_library")
def test_a_certificate_for_another_host_gets_no_password(
    server: RedisServer, certificates: Callable[[str], Path]
) -> None:
    pem = certificates("DNS:impostor.example")
    with Front(pem, (server.host, server.port)) as impostor:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{impostor.port}/0?ssl_ca_certs={pem}"
        with closing(open_backend(url)) as backend, pytest.raises(StoreUnavailable) as caught:
            backend.sessions.ping()
        assert impostor.heard == b""
    assert "names the host" in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.usefixtures("_client_library")
@pytest.mark.parametrize("trust", ["ssl_cert_reqs=none", "ssl_ca_certs={pem}"])
def test_the_right_host_is_served_and_so_are_clients_without_verification(
    server: RedisServer, certificates: Callable[[str], Path], trust: str
) -> None:
    pem = certificates("DNS:other.example" if "none" in trust else "IP:127.0.0.1")
    with Front(pem, (server.host, server.port)) as front:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{front.port}/0?{trust.format(pem=pem)}"
        with closing(open_backend(url)) as backend:
            assert works(backend)


@pytest.fixture
def sentinel_fronts(certificates: Callable[[str], Path]) -> Iterator[tuple[int, Path]]:
    """A primary and its sentinel, each behind a front; the sentinel names the primary's front."""
    require(available())
    pem = certificates("IP:127.0.0.1")
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer())
        front = stack.enter_context(Front(pem, (primary.host, primary.port)))
        options = {"sentinel monitor": f"sessions 127.0.0.1 {front.port} 1"}
        sentinel = stack.enter_context(RedisServer(role="sentinel", options=options))
        before = stack.enter_context(Front(pem, (sentinel.host, sentinel.port)))
        yield before.port, pem


def test_sentinels_and_the_primary_are_asked_over_tls(sentinel_fronts: tuple[int, Path]) -> None:
    port, pem = sentinel_fronts
    url = f"rediss+sentinel://127.0.0.1:{port}/sessions/0?ssl_ca_certs={pem}"
    with closing(open_backend(url)) as backend:
        assert works(backend)


def test_a_sentinel_with_a_foreign_certificate_is_not_believed(
    sentinel_fronts: tuple[int, Path], certificates: Callable[[str], Path]
) -> None:
    port, _ = sentinel_fronts
    other = certificates("IP:127.0.0.2")
    url = f"rediss+sentinel://127.0.0.1:{port}/sessions/0?ssl_ca_certs={other}"
    with closing(open_backend(url)) as backend, pytest.raises(StoreUnavailable, match="TLS"):
        backend.sessions.ping()


def test_cluster_nodes_are_asked_over_tls(certificates: Callable[[str], Path]) -> None:
    require(available())
    pem = certificates("IP:127.0.0.1")
    port = free_port()
    options = {
        "cluster-enabled": "yes",
        "cluster-announce-ip": "127.0.0.1",
        "cluster-announce-port": str(port),
    }
    with RedisServer(options=options, port_offsets=(0, 10000)) as node:
        node.command("CLUSTER", "ADDSLOTS", *range(SLOTS))
        wait_until(
            lambda: node.command("CLUSTER INFO")["cluster_state"] == "ok", "a cluster of one"
        )
        with Front(pem, (node.host, node.port), port):
            url = f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={pem}"
            with closing(open_backend(url)) as backend:
                assert works(backend)


def test_urls_over_tls_take_the_options_of_tls_and_say_what_is_wrong() -> None:
    sentinel = parse_url("rediss+sentinel://:pw@h1,h2:1/main/3?ssl_cert_reqs=none")
    assert (sentinel.topology, sentinel.is_encrypted) == ("sentinel", True)
    assert sentinel.addresses == (("h1", 26379), ("h2", 1))
    cluster = parse_url("rediss+cluster://h1?ssl_cert_reqs=optional")
    assert (cluster.topology, cluster.is_encrypted) == ("cluster", True)
    assert not parse_url("redis+cluster://h1").is_encrypted
    for url, says in (
        ("rediss+cluster://h1?ssl_cert_reqs=maybe", r"rediss\+cluster:.*required"),
        ("rediss+sentinel://h1/s?ssl_ca_certs=/nowhere", "no readable file"),
        ("rediss+sentinel://h1", "service is missing"),
        ("rediss+cluster://h1/1", "database 0 only"),
        ("redis+cluster://h1?ssl_cert_reqs=none", "unknown option"),
        ("rediss://h1,h2", r"rediss\+sentinel"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            parse_url(url)


@pytest.mark.parametrize("place", ["rediss+sentinel://h1/main", "rediss+cluster://h1"])
def test_sessions_are_imported_over_tls(place: str) -> None:
    open_importer(f"flask-session+{place}", ImportOptions()).records.close()
