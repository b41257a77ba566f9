"""One connection to Redis: slow and talkative peers, which are threads of the test."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listeners import Listener
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from requirements_of_tests import require

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.redis import resp
from wsgi_sessions.stores.redis.backend import open_executor
from wsgi_sessions.stores.redis.wire import link
from wsgi_sessions.stores.redis.wire.cluster import ClusterExecutor
from wsgi_sessions.stores.redis.wire.url import NodeAddress

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

PART = 0.05  # seconds between the parts of a reply
TIMEOUT = 0.5


class Peer(Listener):
    """Answers every command with the next of `replies`, each a list of parts, as slowly as said.

    The last one is for all that follow.
    """

    def __init__(
        self, *replies: list[bytes], pause: float = 0.0, certificate: Path | None = None
    ) -> None:
        self._replies = list(replies)
        self._pause = pause
        self._certificate = certificate
        self.connections = 0
        self.sent = threading.Event()
        super().__init__()

    @property
    def url(self) -> str:
        if self._certificate is not None:
            return f"rediss://127.0.0.1:{self.port}?ssl_ca_certs={self._certificate}"
        return f"redis://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket) -> None:
        self.connections += 1
        if self._certificate is None:
            self.answer(client)
            return
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate)
        with context.wrap_socket(client, server_side=True) as encrypted:
            self.answer(encrypted)

    def answer(self, client: socket.socket) -> None:
        while client.recv(65536):
            parts = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
            for part in parts:
                client.sendall(part)
                time.sleep(self._pause)
            self.sent.set()


@pytest.fixture(params=["hiredis", "without it"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without it":
        monkeypatch.setattr(link, "_Reader", resp.Reader)
        monkeypatch.setattr(link, "_pack", resp.pack)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(None if shutil.which("openssl") else "no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "it.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_name("it.pem.crt").read_text())
    return path


def test_a_peer_that_does_not_answer_the_greeting_is_a_fault() -> None:
    with (
        Peer([]) as peer,
        closing(open_executor(f"{peer.url}/3", 0.2)) as executor,
        pytest.raises(StoreUnavailable, match="within the deadline"),
    ):
        executor.execute("load", None, "GET", "k")


def drip(reply: bytes) -> list[bytes]:
    return [reply[i : i + 1] for i in range(len(reply))]


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("url", ["{url}/0", "{url}/3"])
def test_a_reply_in_drips_takes_no_longer_than_the_deadline(url: str) -> None:
    """The one to a command, and the one to the greeting that chooses the database."""
    whole = drip(b"$200\r\n" + b"x" * 200 + b"\r\n")
    with (
        Peer(whole, pause=PART) as peer,
        closing(open_executor(url.format(url=peer.url), TIMEOUT)) as executor,
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="within the deadline"):
            executor.execute("load", None, "GET", "k")
        assert time.monotonic() - begun < 2 * TIMEOUT  # and not the 10 s that all of it takes


class Starved(Peer):
    """Says nothing on its first connection, and on the next ones only after `pause` seconds."""

    def answer(self, client: socket.socket) -> None:
        while client.recv(65536):
            if self.connections > 1:
                time.sleep(self._pause)
                client.sendall(self._replies[0][0])


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_the_second_attempt_is_waited_for_until_the_deadline(
    way: str, request: pytest.FixtureRequest
) -> None:
    """The first is given up after 1.5 s. A server that is short of time answers before 5 s."""
    certificate = request.getfixturevalue("certificate") if way == "TLS" else None
    with (
        Starved([b"$1\r\nx\r\n"], pause=2.0, certificate=certificate) as peer,
        closing(open_executor(peer.url, 5.0)) as executor,
    ):
        assert executor.execute("load", None, "GET", "k") == b"x"
        assert executor.retries == 1


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_retry_in_another_thread_puts_nothing_in_doubt(scheme: str) -> None:
    """Else a save that meets a much later version would say that it may have been done."""
    with (
        Starved([b"$1\r\nx\r\n"]) as peer,
        closing(open_executor(f"{scheme}://127.0.0.1:{peer.port}", TIMEOUT)) as executor,
        ThreadPoolExecutor(1) as thread,
    ):
        node = executor
        if isinstance(executor, ClusterExecutor):
            node = executor._executor(NodeAddress("127.0.0.1", peer.port))
        thread.submit(node.execute, "load", None, "GET", "k").result()
        assert thread.submit(lambda: executor.retries).result() == 1
        assert executor.retries == 0


@pytest.mark.usefixtures("_reader")
def test_a_long_reply_in_few_parts_is_read() -> None:
    text = b"x" * 100_000
    parts = [b"$100000\r\n", text[:50_000], text[50_000:], b"\r\n"]
    with Peer(parts) as peer, closing(open_executor(f"{peer.url}/0", 5.0)) as executor:
        for _ in range(2):
            assert executor.execute("load", None, "GET", "k") == text
        assert peer.connections == 1


@pytest.mark.usefixtures("_reader")
def test_a_surplus_reply_is_never_used() -> None:
    two = [b"+first\r\n+second\r\n"]
    with (
        Peer(two, [b"+right\r\n"]) as peer,
        closing(open_executor(f"{peer.url}/0", 5.0)) as executor,
    ):
        with pytest.raises(StoreUnavailable, match="Redis protocol"):
            executor.execute("load", None, "GET", "a")
        assert executor.execute("load", None, "GET", "b") == b"right"
        assert peer.connections == 2


@pytest.mark.usefixtures("_reader")
def test_data_between_two_commands_is_not_a_reply() -> None:
    late = [b"+first\r\n", b"+second\r\n"]
    with (
        Peer(late, [b"+right\r\n"], pause=PART) as peer,
        closing(open_executor(f"{peer.url}/0", 5.0)) as executor,
    ):
        assert executor.execute("load", None, "GET", "a") == b"first"
        assert peer.sent.wait(5)
        assert executor.execute("load", None, "GET", "b") == b"right"
        assert peer.connections == 2


def test_nor_is_it_on_tls(certificate: Path) -> None:
    """Where the protocol may have written, too: it hands out tickets after the handshake."""
    late = [b"+first\r\n", b"+second\r\n"]
    right = [b"+right\r\n"]
    with (
        Peer(late, right, pause=PART, certificate=certificate) as peer,
        closing(open_executor(peer.url, 5.0)) as executor,
    ):
        assert executor.execute("load", None, "GET", "a") == b"first"
        assert peer.sent.wait(5)
        for key in "bcd":
            assert executor.execute("load", None, "GET", key) == b"right"
        assert peer.connections == 2


GEVENT = """
from gevent import monkey
monkey.patch_all()
from contextlib import closing
from wsgi_sessions.stores.redis.backend import open_executor

with closing(open_executor("redis://127.0.0.1:{port}/0", 5.0)) as executor:
    print(executor.execute("load", None, "GET", "a"))
    input()
    for key in "bcd":
        print(executor.execute("load", None, "GET", key))
"""


def test_nor_is_it_with_gevent() -> None:
    """Whose sockets are of a class of their own."""
    late = [b"+first\r\n", b"+second\r\n"]
    with Peer(late, [b"+right\r\n"], pause=PART) as peer:
        program = [sys.executable, "-W", "ignore", "-c", GEVENT.format(port=peer.port)]
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker:
            assert peer.sent.wait(30)
            out, _ = worker.communicate("\n", timeout=30)
        assert out.split() == ["b'first'", *["b'right'"] * 3]
        assert peer.connections == 2


# -- replies without hiredis -----------------------------------------------------------------------


def encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, str):
        return f"+{reply}\r\n".encode()
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))


REPLIES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary() | st.text("OK PONG"),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)
MORE = object()


def reader(kind: Callable[..., Any]) -> Any:
    return kind(protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=MORE)


def outcome(kind: Callable[..., Any], data: bytes, cut: int) -> list[str]:
    """What a reader makes of bytes that come in two parts, until it has no more to give."""
    made, found = reader(kind), []
    for part in (data[:cut], data[cut:]):
        made.feed(part, 0, len(part))
        try:
            while (reply := made.gets()) is not MORE:
                found.append(repr(reply))
        except RedisError as error:
            return [*found, type(error).__name__]
    return [*found, str(made.has_data())]


@given(replies=st.lists(REPLIES, max_size=3), cut=st.integers(0, 100))
def test_replies_are_read_as_hiredis_does(replies: list[Any], cut: int) -> None:
    data = b"".join(map(encoded, replies))
    assert outcome(resp.Reader, data, cut) == outcome(hiredis.Reader, data, cut)


@pytest.mark.parametrize(
    "data", [b"-ERR no\r\n", b"*-1\r\n", b"*1\r\n-WRONGTYPE x\r\n", b"*0\r\n", b"$0\r\n\r\n"]
)
def test_errors_and_nil_are_parsed_as_hiredis_does(data: bytes) -> None:
    for cut in range(len(data) + 1):
        assert outcome(resp.Reader, data, cut) == outcome(hiredis.Reader, data, cut)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n", b"$x\r\n", b":\r\n", b"*1\r\n" * 2000 + b":1\r\n"]
)
def test_bytes_that_are_not_a_reply_are_a_fault(data: bytes) -> None:
    assert outcome(resp.Reader, data, 3) == ["InvalidResponse"]


@given(st.lists(st.text(st.characters(codec="utf-8")) | st.binary() | st.integers(), min_size=1))
def test_commands_are_packed_as_hiredis_does(words: list[Any]) -> None:
    for command in (tuple(words), (*words, 1.5)):
        assert resp.pack(command) == hiredis.pack_command(command)
