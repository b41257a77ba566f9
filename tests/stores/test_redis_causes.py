"""What a Redis server itself says of a fault is in the log, in health, and in `check`."""

from __future__ import annotations

import fcntl
import logging
import socket
import termios
from array import array
from contextlib import closing
from time import sleep

import pytest
from click.testing import CliRunner
from listeners import Listener
from redis_servers import RedisServer
from wsgi_client import Browser

from wsgi_sessions import from_env, get_session
from wsgi_sessions.cli import main
from wsgi_sessions.errors import StoreUnavailable, WriteInDoubt
from wsgi_sessions.stores.redis.backend import open_executor, open_redis

KEY = "a" * 64
LATER = 4e9
SAID = "DENIED Redis is running in protected mode"


class Speaker(Listener):
    """Says one thing to each client, and hangs up; at once, or after a command."""

    def __init__(self, line: str, *, at_once: bool = True, hangs_up: bool = True) -> None:
        self._line = line.encode("utf-8", "surrogateescape") + b"\r\n"
        self._at_once = at_once
        self._hangs_up = hangs_up
        self.clients = 0
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def serve(self, client: socket.socket) -> None:
        if not self._at_once:
            client.recv(65536)
        self.clients += 1
        client.sendall(self._line)
        _wait_until_there(client)
        while not self._hangs_up and client.recv(65536):
            pass  # it hangs up only when the client does, as a slow network would have it


def _wait_until_there(client: socket.socket) -> None:
    """Return when the peer's kernel has all that was sent to it: a reset that follows at once may
    overtake it on loopback, and the peer then never sees it."""
    left = array("i", [1])
    for _ in range(1000):
        fcntl.ioctl(client, termios.TIOCOUTQ, left)
        if not left[0]:
            return
        sleep(0.01)


def fault_at(url: str) -> StoreUnavailable:
    with closing(open_redis(url)) as backend, pytest.raises(StoreUnavailable) as caught:
        backend.sessions.load(KEY)
    return caught.value


def test_a_server_in_protected_mode_is_named_with_the_remedy() -> None:
    with Speaker(f"-{SAID} because no password is set") as server:
        error = fault_at(server.url)
    assert SAID in str(error)
    assert "requirepass" in str(error)
    assert error.attempts == 1


def test_log_health_and_check_hold_the_servers_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Speaker(f"-{SAID}") as server:
        monkeypatch.setenv("WSGI_SESSIONS_URL", server.url)
        monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "s" * 32)

        def app(environ, start_response):  # type: ignore[no-untyped-def]
            get_session(environ)["n"] = 1
            start_response("200 OK", [])
            return [b"ok"]

        client = Browser(from_env(app))
        with caplog.at_level(logging.WARNING, "wsgi_sessions"):
            assert client.get("/").status == 503
        health = client.get("/health/session", REMOTE_ADDR="127.0.0.1")
        check = CliRunner().invoke(main, ["check"])
    assert SAID in caplog.text
    assert SAID.encode() in health.body
    assert check.exit_code == 1
    assert SAID in check.stdout


def test_a_link_is_not_used_again_after_an_answer_that_ends_it() -> None:
    with Speaker(f"-{SAID}", hangs_up=False) as server, closing(open_redis(server.url)) as backend:
        for _ in range(2):  # a create is sent once: on a dead link its fault would say nothing
            with pytest.raises(StoreUnavailable, match="DENIED") as caught:
                backend.sessions.create(KEY, b"1", LATER)
            assert not isinstance(caught.value, WriteInDoubt)
        assert server.clients == 2


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("DENIED running in protected mode", "requirepass"),
        ("NOPERM this user has no permissions", "ACL SETUSER"),
        ("NOAUTH Authentication required.", "user:password@"),
        ("WRONGPASS invalid username-password pair", "correct them"),
        ("MISCONF Errors writing to the AOF file", "free some of the disk"),
        ("OOM command not allowed", "raise maxmemory"),
        ("READONLY You can't write against a read only replica.", "redis+sentinel://"),
        ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
        ("LOADING Redis is loading the dataset in memory", "when that is done"),
        ("MASTERDOWN Link with MASTER is down", "failover"),
        ("ERR max number of clients reached", "maxclients"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTER INFO"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "try again"),
    ],
)
def test_a_known_code_has_its_words_and_a_remedy(code: str, remedy: str) -> None:
    with Speaker(f"-{code}", at_once=False) as server:
        text = str(fault_at(server.url))
    assert remedy in text
    words = code.partition(" ")[2]  # of known codes, redis-py takes the first word off
    assert words in text


def test_an_unknown_answer_is_shown_escaped_and_short() -> None:
    with Speaker("-WHATEVER \x1b[31m " + "x" * 5000, at_once=False) as server:
        text = str(fault_at(server.url))
    assert "WHATEVER \\x1b[31m" in text
    assert len(text) < 400


def test_the_arguments_of_a_command_are_not_repeated() -> None:
    said = f"-ERR no command 'GET' for session:{{{KEY}}}, with args beginning with: 'secret'"
    with Speaker(said, at_once=False) as server:
        error = fault_at(server.url)
    assert "no command 'GET'" in str(error)
    assert KEY not in str(error)
    assert "secret" not in str(error) + str(error.__cause__)


def test_the_systems_words_are_there_where_nothing_answers() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    assert "refused" in str(fault_at(f"redis://127.0.0.1:{port}/0"))


def test_the_words_of_the_breaker_are_those_of_the_fault() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with closing(open_redis(f"redis://127.0.0.1:{port}/0")) as backend:
        for _ in range(4):  # one more than opens it
            with pytest.raises(StoreUnavailable, match="refused") as caught:
                backend.sessions.load(KEY)
    assert caught.value.attempts == 0


LONG_LABEL = "x" * 70


@pytest.mark.parametrize(
    "url",
    [
        f"redis://{LONG_LABEL}.example/0",
        f"redis+sentinel://{LONG_LABEL}.example/service",
        f"redis+cluster://{LONG_LABEL}.example",
    ],
)
def test_other_exceptions_of_the_driver_are_faults_of_the_store(url: str) -> None:
    """As UnicodeError for a host name with a label that is too long."""
    with closing(open_redis(url)) as backend:
        for _ in range(4):
            with pytest.raises(StoreUnavailable, match="Unicode") as caught:
                backend.sessions.load(KEY)
            assert not isinstance(caught.value, WriteInDoubt)
        with pytest.raises(StoreUnavailable):
            backend.sessions.create(KEY, b"x", 4e9)


def test_a_sentinel_that_no_client_can_reach_leaves_the_next_one_to_answer() -> None:
    class Sentinel(Listener):
        def serve(self, client: socket.socket) -> None:
            while client.recv(65536):
                port = str(server.port)
                client.sendall(f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n".encode())

    with RedisServer() as server, Sentinel() as sentinel:
        hosts = f"{LONG_LABEL}.example,127.0.0.1:{sentinel.port}"
        with closing(open_executor(f"redis+sentinel://{hosts}/service", 1.0)) as executor:
            assert executor.execute("load", None, "GET", "k") is None


def test_a_map_of_slots_in_another_shape_is_the_stores_fault() -> None:
    class Strange(Listener):
        def serve(self, client: socket.socket) -> None:
            while client.recv(65536):
                client.sendall(b"*1\r\n*1\r\n:0\r\n")

    with (
        Strange() as server,
        closing(open_redis(f"redis+cluster://127.0.0.1:{server.port}")) as backend,
        pytest.raises(StoreUnavailable, match="no map of slots"),
    ):
        backend.sessions.load(KEY)
