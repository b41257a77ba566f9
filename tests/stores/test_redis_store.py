"""What is special to Redis: faults, deadlines, connections, formats, URLs.

The store contract itself is tested in ``test_stores.py``.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import exceptions as redis_errors
from redis_proxy import CuttingProxy
from redis_servers import ClusterGroup, RedisServer, SentinelGroup, available, wait_until
from requirements_of_tests import require

from wsgi_sessions.errors import (
    ConfigurationError,
    LockTimeout,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    UnsupportedFormat,
    VersionConflict,
    WriteInDoubt,
)
from wsgi_sessions.stores.breaker import Breaker, CircuitOpen
from wsgi_sessions.stores.redis.backend import open_redis
from wsgi_sessions.stores.redis.wire.faults import fault_of
from wsgi_sessions.stores.redis.wire.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend

KEY = hashlib.sha256(b"a session").hexdigest()
NAME = f"session:{{{KEY}}}"


@pytest.fixture(scope="module", autouse=True)
def _a_redis_to_test_with() -> None:
    require(available())


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    """One server for the tests that leave its process and settings alone."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.command("FLUSHALL")
    return shared_server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server to stop, kill and reconfigure; it keeps its data over a restart."""
    with RedisServer(persistence="aof") as server:
        yield server


@contextmanager
def opened(url: str, **options: Any) -> Iterator[Backend]:
    with closing(open_redis(url, **options)) as backend:
        yield backend


@pytest.fixture
def backend(server: RedisServer) -> Iterator[Backend]:
    with opened(server.url) as backend:
        yield backend


def later(seconds: float = 600.0) -> float:
    return time.time() + seconds


def unavailable(operation: Callable[[], object]) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        operation()
    return caught.value


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[CuttingProxy]:
    with closing(CuttingProxy(server)) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: CuttingProxy) -> Iterator[Backend]:
    with opened(proxy.url) as backend:
        backend.sessions.ping()
        yield backend


class TestRecords:
    def test_layout(self, backend: Backend, server: RedisServer) -> None:
        expires_at = later()
        backend.sessions.create(KEY, b"payload", expires_at)
        value = server.command("GET", NAME)
        assert value == b"\xf9" + struct.pack(">Qd", 1, expires_at) + b"payload"

    def test_versions_count_up(self, backend: Backend) -> None:
        backend.sessions.create(KEY, b"1", later())
        for version in range(1, 300):  # beyond one byte of the version
            payload = str(version).encode()
            saved = backend.sessions.save(KEY, payload, later(), expected_version=version)
            assert saved == version + 1
        record = backend.sessions.load(KEY)
        assert record is not None
        assert (record.version, record.payload) == (300, b"299")

    def test_the_server_expires_it(self, backend: Backend, server: RedisServer) -> None:
        backend.sessions.create(KEY, b"x", later(100))
        assert 99_000 < server.command("PTTL", NAME) <= 100_000
        backend.sessions.save(KEY, b"y", later(50), expected_version=1)
        assert 49_000 < server.command("PTTL", NAME) <= 50_000
        backend.sessions.touch(KEY, later(200))
        assert 199_000 < server.command("PTTL", NAME) <= 200_000
        backend.sessions.touch(KEY, later(150))
        assert 199_000 < server.command("PTTL", NAME) <= 200_000

    def test_a_clock_that_is_ahead_hides_nothing(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend.sessions.create(KEY, b"x", later(100))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        assert backend.sessions.load(KEY) is not None
        backend.index.add("alice", KEY, later(100))
        monkeypatch.undo()
        backend.index.add("alice", "b" * 64, later(100))
        assert sorted(backend.index.keys_of("alice")) == sorted([KEY, "b" * 64])

    def test_a_touch_by_a_clock_that_is_behind_still_extends(
        self, backend: Backend, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend.sessions.create(KEY, b"x", later(100))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3600)
        backend.sessions.touch(KEY, time.time() + 200)
        assert server.command("PTTL", NAME) > 199_000

    def test_never_an_expiry_that_redis_refuses(self, backend: Backend) -> None:
        backend.sessions.create(KEY, b"x", later(-1))
        assert backend.sessions.load(KEY) is None
        backend.sessions.create(KEY, b"x", 2.0**63)
        assert backend.sessions.load(KEY) is not None
        with pytest.raises(SessionExists):
            backend.sessions.create(KEY, b"x", later(-1))
        backend.sessions.touch(KEY, later(-1))
        assert backend.sessions.save(KEY, b"x", later(-1), expected_version=1) == 2
        assert backend.sessions.load(KEY) is None

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"\xf9",
            b"\xf9" + bytes(15),
            b"\xf9" + struct.pack(">Qd", 0, 2e9) + b"version 0",
            b"\xf9" + struct.pack(">Qd", 3, math.nan),
            b"\xf9" + struct.pack(">Qd", 3, -math.inf),
            b"\x80\x04cos\nsystem\n.",
            b'{"user": 5}',
        ],
    )
    def test_rubbish_is_set_aside(
        self,
        backend: Backend,
        server: RedisServer,
        value: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        server.command("SET", NAME, value, "PX", 600_000)
        told: list[str] = []
        assert backend.quarantine is not None
        backend.quarantine.report_to(lambda key, _: told.append(key))
        assert backend.sessions.load(KEY) is None
        assert told == [KEY]
        assert server.command("EXISTS", NAME) == 0
        assert server.command("GET", f"session:quarantine:{{{KEY}}}") == value
        assert server.command("TTL", f"session:quarantine:{{{KEY}}}") > 6 * 86400
        assert backend.quarantine is not None
        assert backend.quarantine.quarantined() == 1
        assert KEY[:10] in caplog.text
        assert KEY not in caplog.text

    def test_a_save_onto_rubbish_sets_it_aside(self, backend: Backend, server: RedisServer) -> None:
        server.command("SET", NAME, b"rubbish", "PX", 600_000)
        with pytest.raises(SessionGone):
            backend.sessions.save(KEY, b"x", later(), expected_version=1)
        assert server.command("EXISTS", NAME) == 0

    def test_only_that_version_is_set_aside(self, backend: Backend) -> None:
        backend.sessions.create(KEY, b"good", later())
        assert backend.quarantine is not None
        backend.quarantine.set_aside(KEY, 7, "another version")
        assert backend.sessions.load(KEY) is not None
        assert backend.quarantine.quarantined() == 0
        backend.quarantine.set_aside(KEY, 1, "this version")
        assert backend.sessions.load(KEY) is None

    @pytest.mark.parametrize("first", [0xF8, 0xFA, 0xFF])
    def test_a_newer_format_is_left_alone(
        self, backend: Backend, server: RedisServer, first: int
    ) -> None:
        value = bytes([first]) + b"something newer"
        server.command("SET", NAME, value, "PX", 600_000)
        with pytest.raises(UnsupportedFormat, match="newest release") as caught:
            backend.sessions.load(KEY)
        assert caught.value.key == KEY[:10]
        with pytest.raises(UnsupportedFormat):
            backend.sessions.save(KEY, b"x", later(), expected_version=1)
        backend.sessions.touch(KEY, later(9999))
        assert server.command("GET", NAME) == value
        assert server.command("PTTL", NAME) <= 600_000

    def test_quarantine_is_bounded(self, backend: Backend, server: RedisServer) -> None:
        for number in range(105):
            key = hashlib.sha256(str(number).encode()).hexdigest()
            server.command("SET", f"session:{{{key}}}", b"rubbish")
            assert backend.sessions.load(key) is None
        assert backend.quarantine is not None
        assert backend.quarantine.quarantined() == 100
        kept = server.command("KEYS", "session:quarantine:*")
        assert len(kept) == 100
        oldest = hashlib.sha256(b"0").hexdigest()
        assert f"session:quarantine:{{{oldest}}}".encode() not in kept


class TestSurroundings:
    def test_iteration_sees_this_prefix_only(self, server: RedisServer) -> None:
        with opened(server.url, key_prefix="a*[b]?:") as one, opened(server.url) as other:
            one.sessions.create(KEY, b"x", later())
            other.sessions.create("b" * 64, b"x", later())
            with one.locks.hold(KEY, 1):
                assert list(one.iteration.keys()) == [KEY]
                assert one.iteration.count() == 1
            server.command("SET", "axb?:{" + "c" * 64 + "}", "a glob would take this one")
            assert one.iteration.count() == 1

    def test_many_are_counted_over_several_scans(
        self, backend: Backend, server: RedisServer
    ) -> None:
        keys = {hashlib.sha256(str(n).encode()).hexdigest() for n in range(2500)}
        server.command("MSET", *(word for key in keys for word in (f"session:{{{key}}}", "x")))
        assert set(backend.iteration.keys()) == keys

    def test_no_principal_in_clear(self, backend: Backend, server: RedisServer) -> None:
        backend.index.add("alice@example.org", KEY, later(100))
        names = server.command("KEYS", "*")
        assert names
        assert not any(b"alice" in name for name in names)
        assert 99_000 < server.command("PTTL", names[0]) <= 100_000

    def test_the_index_drops_what_has_expired(self, backend: Backend) -> None:
        backend.index.add("alice", "b" * 64, later(0.05))
        backend.index.add("alice", KEY, later(100))
        wait_until(lambda: self._after_another_add(backend) == [KEY], "the entry is removed")

    @staticmethod
    def _after_another_add(backend: Backend) -> list[str]:
        backend.index.add("alice", KEY, later(50))
        return backend.index.keys_of("alice")

    @pytest.mark.parametrize(
        ("policy", "warns"),
        [("noeviction", False), ("allkeys-lru", True), ("volatile-ttl", True)],
    )
    def test_eviction_is_warned_of(self, own_server: RedisServer, policy: str, warns: bool) -> None:
        own_server.command("CONFIG", "SET", "maxmemory-policy", policy)
        with opened(own_server.url) as backend:
            assert backend.advice is not None
            warnings = backend.advice.warnings()
        assert [policy in warning for warning in warnings] == [True] * warns

    def test_no_advice_where_config_is_forbidden(self, own_server: RedisServer) -> None:
        own_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        own_server.command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-config")
        with opened(own_server.url.replace("//", "//app:secret@")) as backend:
            assert backend.advice is not None
            assert backend.advice.warnings() == []

    def test_a_database_of_its_own(self, server: RedisServer) -> None:
        with opened(server.url.replace("/0", "/3")) as third, opened(server.url) as first:
            third.sessions.create(KEY, b"x", later())
            assert first.sessions.load(KEY) is None
            assert third.sessions.load(KEY) is not None

    def test_by_socket_file(self) -> None:
        with RedisServer(transport="unix") as server, opened(f"{server.url}?db=2") as backend:
            backend.sessions.create(KEY, b"x", later())
            assert backend.sessions.load(KEY) is not None
            server.kill()
            error = unavailable(lambda: backend.sessions.load(KEY))
            assert server.socket_path in str(error)


class TestLocks:
    def test_freed_by_its_holder_alone(self, backend: Backend, server: RedisServer) -> None:
        name = f"session:lock:{{{KEY}}}"
        with backend.locks.hold(KEY, 1) as held:
            assert 29_000 < server.command("PTTL", name) <= 30_000
            server.command("SET", name, "somebody else's")
        assert server.command("GET", name) == b"somebody else's"
        assert held.was_lost

    def test_freed_when_the_block_fails(self, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError), backend.locks.hold(KEY, 1):
            raise ZeroDivisionError
        with backend.locks.hold(KEY, 0):
            pass

    def test_a_release_that_fails_spares_the_block(
        self, own_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened(own_server.url) as backend:
            with backend.locks.hold(KEY, 1):
                own_server.kill()
            assert "until it expires" in caplog.text

    def test_a_lost_reply_does_not_lock_oneself_out(
        self, proxy: CuttingProxy, proxied: Backend
    ) -> None:
        with proxied.locks.hold("b" * 64, 1):
            pass  # the script is known now: the cut reply is that of taking the lock
        proxy.cut()
        with proxied.locks.hold(KEY, 0):
            pass

    def test_interrupted_while_taking_it(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        with backend.locks.hold(KEY, 1):
            monkeypatch.setattr(time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt), backend.locks.hold(KEY, 1):
                pass
            with pytest.raises(LockTimeout), backend.locks.hold(KEY, 0):
                pass


class TestLostReplies:
    def test_a_save_meets_its_own_record(self, proxy: CuttingProxy, proxied: Backend) -> None:
        proxied.sessions.create(KEY, b"1", later())
        proxied.sessions.save(KEY, b"2", later(), expected_version=1)
        proxy.cut()
        with pytest.raises(VersionConflict) as caught:
            proxied.sessions.save(KEY, b"mine", later(), expected_version=2)
        assert caught.value.current.payload == b"mine"
        assert caught.value.current.version == 3
        assert caught.value.is_after_retry

    def test_a_create_is_not_sent_again(self, proxy: CuttingProxy, proxied: Backend) -> None:
        before = proxy.connections
        proxy.cut()
        with pytest.raises(WriteInDoubt) as caught:
            proxied.sessions.create(KEY, b"mine", later())
        assert caught.value.may_try_another
        assert (caught.value.attempts, proxy.connections) == (1, before)
        record = proxied.sessions.load(KEY)
        assert record is not None
        assert record.payload == b"mine"

    @pytest.mark.parametrize("allow", [1, 4, 10, 300])
    def test_half_a_reply_does_not_count(
        self, proxy: CuttingProxy, proxied: Backend, allow: int
    ) -> None:
        payload = os.urandom(500)
        proxied.sessions.create(KEY, payload, later())
        before = proxy.connections
        proxy.cut(allow=allow)
        record = proxied.sessions.load(KEY)
        assert record is not None
        assert record.payload == payload
        assert proxy.connections == before + 1

    def test_never_a_third_attempt(self, proxy: CuttingProxy) -> None:
        with opened(proxy.url) as backend:
            proxy.cut(replies=3)
            error = unavailable(lambda: backend.sessions.load(KEY))
        assert error.attempts == 2
        assert proxy.connections == 2

    def test_an_interrupted_connection_is_thrown_away(self, server: RedisServer) -> None:
        def interrupt(*_: object) -> None:
            raise TimeoutInTheMiddle

        # In a database of its own: redis-py would open the connection again, but not log in.
        with opened(server.url.replace("/0", "/3")) as backend:
            backend.sessions.create(KEY, b"of this key", later())
            backend.sessions.create("b" * 64, b"of the other key", later())
            previous = signal.signal(signal.SIGALRM, interrupt)
            try:
                server.pause()
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(TimeoutInTheMiddle):
                    backend.sessions.load(KEY)
            finally:
                server.resume()
                signal.signal(signal.SIGALRM, previous)
            # On the same connection, the next reply would be that to the interrupted command.
            other = backend.sessions.load("b" * 64)
        assert other is not None
        assert other.payload == b"of the other key"


class TimeoutInTheMiddle(BaseException):
    """What gevent.Timeout is: no Exception."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(None if shutil.which("openssl") else "no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


class TestTLS:
    @pytest.fixture
    def front(self, server: RedisServer, certificate: Path) -> Iterator[CuttingProxy]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        with closing(CuttingProxy(server, tls=context)) as front:
            yield front

    def test_a_certificate_that_is_known(self, front: CuttingProxy, certificate: Path) -> None:
        with opened(f"{front.url}?ssl_ca_certs={certificate}") as backend:
            backend.sessions.create(KEY, b"x", later())
            assert backend.sessions.load(KEY) is not None

    def test_one_that_is_not(self, front: CuttingProxy) -> None:
        with opened(front.url) as backend:
            error = unavailable(backend.sessions.ping)
        assert "ssl_ca_certs" in str(error)
        assert error.attempts == 1


class TestOutages:
    def test_a_restart_is_survived_without_a_retry_by_the_caller(
        self, own_server: RedisServer
    ) -> None:
        with opened(own_server.url) as backend:
            backend.sessions.create(KEY, b"kept", later())
            own_server.restart()
            record = backend.sessions.load(KEY)
            assert record is not None
            assert record.payload == b"kept"

    def test_all_pooled_connections_are_dropped_together(self, own_server: RedisServer) -> None:
        with opened(own_server.url) as backend:
            in_parallel(8, lambda: backend.sessions.ping())
            own_server.restart()
            for _ in range(8):
                backend.sessions.ping()
            # The store's one connection, and the one that asks for this list.
            assert len(own_server.command("CLIENT LIST")) == 2

    def test_no_server_listens(self, own_server: RedisServer) -> None:
        own_server.kill()
        with opened(own_server.url) as backend:
            error = unavailable(lambda: backend.sessions.load(KEY))
        assert error.operation == "load"
        assert error.key == KEY[:10]
        assert error.attempts == 2
        assert f"127.0.0.1:{own_server.port}" in str(error)
        assert isinstance(error.__cause__, redis_errors.ConnectionError)

    def test_a_black_hole_costs_no_more_than_the_deadline(
        self, own_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened(own_server.url, timeout=0.4) as backend:
            backend.sessions.create(KEY, b"kept", later())
            own_server.pause()
            for _ in range(3):
                started = time.monotonic()
                error = unavailable(lambda: backend.sessions.load(KEY))
                assert time.monotonic() - started < 0.6
                assert error.attempts == 2
                assert "deadline" in str(error)
            assert caplog.text.count("operations fail at once") == 1
            started = time.monotonic()
            for _ in range(100):
                error = unavailable(lambda: backend.sessions.load(KEY))
                assert error.attempts == 0
                assert isinstance(error.__cause__, CircuitOpen)
            unavailable(backend.sessions.ping)
            assert time.monotonic() - started < 0.4
            own_server.resume()
            with caplog.at_level(logging.INFO, "wsgi_sessions"):
                wait_until(lambda: loads(backend), "the store heals", 3)
            assert caplog.text.count("INFO") == 1
            assert "answers again" in caplog.text

    def test_a_killed_server_comes_back(self, own_server: RedisServer) -> None:
        with opened(own_server.url) as backend:
            backend.sessions.create(KEY, b"kept", later())
            own_server.kill()
            for _ in range(5):
                unavailable(lambda: backend.sessions.load(KEY))
            own_server.start()
            wait_until(lambda: loads(backend), "the store heals", 3)

    def test_opening_does_not_connect(self, own_server: RedisServer) -> None:
        own_server.kill()
        with opened(own_server.url) as backend:
            own_server.start()
            backend.sessions.ping()


def loads(backend: Backend) -> bool:
    try:
        return backend.sessions.load(KEY) is not None
    except StoreUnavailable:
        return False


def in_parallel(number: int, job: Callable[[], object]) -> None:
    """Run `job` in threads that begin together; raises what one of them raised."""
    barrier = threading.Barrier(number)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            barrier.wait()
            job()
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class TestBreaker:
    def test_it_opens_and_probes_one_at_a_time(self) -> None:
        now = [0.0]
        breaker = Breaker("here", clock=lambda: now[0])
        states = []
        for _ in range(3):
            states.append(breaker.closed)
            breaker.unanswered("timed out")
        assert [*states, breaker.closed] == [True, True, True, False]
        with pytest.raises(CircuitOpen, match="timed out"), breaker.probe():
            pass
        now[0] = 1.0
        with breaker.probe():
            with pytest.raises(CircuitOpen), breaker.probe():
                pass
            breaker.unanswered("timed out")
        with pytest.raises(CircuitOpen), breaker.probe():
            pass
        now[0] = 2.0
        with breaker.probe():
            breaker.answered()
        assert breaker.closed

    def test_an_answer_in_between_starts_the_count_again(self) -> None:
        breaker = Breaker("here")
        for _ in range(5):
            breaker.unanswered("timed out")
            breaker.unanswered("timed out")
            assert breaker.closed
            breaker.answered()

    def test_an_interrupted_probe_makes_room_for_the_next(self) -> None:
        breaker = Breaker("here", threshold=1, pause=0)
        breaker.unanswered("timed out")
        with pytest.raises(TimeoutInTheMiddle), breaker.probe():
            raise TimeoutInTheMiddle
        with breaker.probe():
            breaker.answered()
        assert breaker.closed


class TestRefusals:
    """The server speaks: no retry, a clear sentence, and the breaker stays closed."""

    def test_no_password(self) -> None:
        with RedisServer(options={"requirepass": "secret"}) as server:
            with opened(server.url) as backend:
                self.assert_refused(backend, "wants a password")
            with opened(server.url.replace("//", "//:wrong-one@")) as backend:
                error = self.assert_refused(backend, "refused the user name or password")
                assert "wrong-one" not in str(error) + str(error.__cause__)
            with opened(server.url.replace("//", "//:secret@")) as backend:
                backend.sessions.ping()
            with opened(server.url.replace("//", "//default:s%65cret@")) as backend:
                backend.sessions.ping()

    def test_no_permission(self, own_server: RedisServer) -> None:
        own_server.command("ACL", "SETUSER", "app", "on", ">secret", "~other:*", "+@all")
        with opened(own_server.url.replace("//", "//app:secret@")) as backend:
            self.assert_refused(backend, "forbids this user")
            error = unavailable(
                lambda: backend.sessions.save(KEY, b"x", later(), expected_version=1)
            )
            assert "forbids this user" in str(error)

    def test_no_permission_inside_a_script(self, own_server: RedisServer) -> None:
        own_server.command("ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-set")
        with opened(own_server.url) as backend:
            backend.sessions.create(KEY, b"x", later())
        with opened(own_server.url.replace("//", "//app:secret@")) as backend:
            error = unavailable(
                lambda: backend.sessions.save(KEY, b"y", later(), expected_version=1)
            )
        assert "forbids this user" in str(error)

    def test_another_type_of_key(self, backend: Backend, server: RedisServer) -> None:
        server.command("LPUSH", NAME, "x")
        self.assert_refused(backend, "another application")
        for call in (
            lambda: backend.sessions.save(KEY, b"x", later(), expected_version=1),
            lambda: backend.sessions.touch(KEY, later()),
        ):
            server.command("EXPIRE", NAME, 5)
            assert "another application" in str(unavailable(call))
        with pytest.raises(SessionExists):
            backend.sessions.create(KEY, b"x", later())
        assert server.command("LRANGE", NAME, 0, -1) == [b"x"]

    def test_out_of_memory(self, own_server: RedisServer) -> None:
        with opened(own_server.url) as backend:
            backend.sessions.create(KEY, b"x", later(100))
            backend.index.add("alice", KEY, later(100))
            own_server.command("CONFIG", "SET", "maxmemory", 1)
            for call in (
                lambda: backend.sessions.save(KEY, b"y", later(), expected_version=1),
                lambda: backend.sessions.create("b" * 64, b"y", later()),
            ):
                error = unavailable(call)
                assert "maxmemory" in str(error)
                assert error.attempts == 1
            backend.sessions.touch(KEY, later(200))
            assert own_server.command("PTTL", NAME) > 199_000
            record = backend.sessions.load(KEY)
            assert record is not None
            assert (record.version, record.payload) == (1, b"x")
            backend.index.remove("alice", KEY)
            backend.sessions.delete(KEY)
            assert backend.sessions.load(KEY) is None

    def test_a_replica(self, own_server: RedisServer) -> None:
        with RedisServer(options={"replicaof": f"127.0.0.1 {own_server.port}"}) as replica:
            with opened(replica.url) as backend:
                for call in (
                    lambda: backend.sessions.create(KEY, b"x", later()),
                    lambda: backend.sessions.delete(KEY),
                ):
                    error = unavailable(call)
                    assert "read-only replica" in str(error)
                    assert error.attempts == 2
            with opened(own_server.url) as backend:
                backend.sessions.create(KEY, b"x", later())
                own_server.command("REPLICAOF", "127.0.0.1", replica.port)
                error = unavailable(
                    lambda: backend.sessions.save(KEY, b"y", later(), expected_version=1)
                )
                assert "read-only replica" in str(error)
                own_server.command("REPLICAOF", "NO", "ONE")

    def test_a_replica_without_its_primary(self) -> None:
        options = {"replicaof": "127.0.0.1 1", "replica-serve-stale-data": "no"}
        with RedisServer(options=options) as replica, opened(replica.url) as backend:
            self.assert_refused(backend, "lost its primary")

    def test_busy_with_a_script(self) -> None:
        with RedisServer(options={"lua-time-limit": "1"}) as server, opened(server.url) as backend:
            client = server.client()
            spin = threading.Thread(target=self._spin, args=(client,))
            spin.start()
            try:
                wait_until(lambda: self._says(backend, "busy with a script"), "the server is busy")
            finally:
                wait_until(lambda: bool(server.command("SCRIPT", "KILL")), "the script is killed")
                spin.join()
                client.close()
            backend.sessions.ping()

    @staticmethod
    def _spin(client: Any) -> None:
        with suppress(redis_errors.ResponseError):
            client.execute_command("EVAL", "while true do end", 0)

    @staticmethod
    def _says(backend: Backend, sentence: str) -> bool:
        try:
            backend.sessions.load(KEY)
        except StoreUnavailable as error:
            return sentence in str(error)
        return False

    def test_no_room_for_a_client(self, own_server: RedisServer) -> None:
        with closing(own_server.client()) as admin:
            admin.config_set("maxclients", 1)
            with opened(own_server.url) as backend:
                wait_until(
                    lambda: self._says(backend, "no room for a client"), "the server is full", 2
                )

    def test_no_such_database(self, server: RedisServer) -> None:
        with opened(server.url.replace("/0", "/9999")) as backend:
            self.assert_refused(backend, "does not have the database")

    def test_no_redis_at_all(self) -> None:
        with closing(Chatterbox()) as service, opened(service.url) as backend:
            self.assert_refused(backend, "does not speak the Redis protocol")

    def test_a_cluster_member(self, cluster: ClusterGroup) -> None:
        with opened(cluster.nodes[0].url) as backend:
            foreign = next(
                key
                for key in (f"{n:064x}" for n in range(100))
                if cluster.owner(f"session:{{{key}}}") is not cluster.nodes[0]
            )
            error = unavailable(lambda: backend.sessions.load(foreign))
            assert "redis+cluster://" in str(error)

    def test_a_missing_command_repeats_no_session(self) -> None:
        options = {"rename-command": 'SET ""'}
        with RedisServer(options=options) as server, opened(server.url) as backend:
            secret = os.urandom(8).hex()
            error = unavailable(lambda: backend.sessions.create(KEY, secret.encode(), later()))
        shown = "".join(traceback.format_exception(error))
        assert "unknown command" in shown
        assert KEY not in shown
        assert secret not in shown

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), "LOADING"),
            (redis_errors.ResponseError("MISCONF Redis is configured to save"), "MISCONF"),
            (redis_errors.ClusterDownError("The cluster is down"), "CLUSTERDOWN"),
            (redis_errors.TryAgainError("Multiple keys request"), "TRYAGAIN"),
            (redis_errors.ResponseError("CLUSTERDOWN Hash slot not served"), "CLUSTERDOWN"),
            (redis_errors.ResponseError("something else"), "ERROR"),
        ],
    )
    def test_codes(self, error: redis_errors.RedisError, code: str) -> None:
        assert fault_of(error).code == code

    @staticmethod
    def assert_refused(backend: Backend, sentence: str) -> StoreUnavailable:
        for _ in range(4):  # one more than opens the breaker
            error = unavailable(lambda: backend.sessions.load(KEY))
            assert sentence in str(error)
            assert error.attempts == 1
        return error


class Chatterbox:
    """A service that greets as SMTP does, whatever it is told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    client.sendall(b"220 mail.example.org ESMTP\r\n")
                    client.recv(100)


class TestProcessesAndThreads:
    def test_scripts_that_the_server_forgot(self, backend: Backend, server: RedisServer) -> None:
        backend.sessions.create(KEY, b"1", later())
        for version in (1, 2, 3):
            server.command("SCRIPT", "FLUSH")
            backend.sessions.save(KEY, b"x", later(), expected_version=version)
            server.command("SCRIPT", "FLUSH")
            backend.sessions.touch(KEY, later(9999))
            server.command("SCRIPT", "FLUSH")
            with backend.locks.hold(KEY, 1):
                server.command("SCRIPT", "FLUSH")

    def test_threads_share_one_store(self, backend: Backend) -> None:
        backend.sessions.create(KEY, b"0", later())

        def count() -> None:
            for _ in range(25):
                while not increment(backend):
                    pass

        in_parallel(8, count)
        record = backend.sessions.load(KEY)
        assert record is not None
        assert (record.version, record.payload) == (201, b"200")

    def test_a_child_leaves_its_parents_connections_alone(self, backend: Backend) -> None:
        backend.sessions.create(KEY, b"0", later())
        in_parallel(4, lambda: backend.sessions.load(KEY))
        children = [self._fork(backend) for _ in range(3)]
        for _ in range(100):
            while not increment(backend):
                pass
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
        record = backend.sessions.load(KEY)
        assert record is not None
        assert record.payload == b"400"

    @staticmethod
    def _fork(backend: Backend) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            for _ in range(100):
                while not increment(backend):
                    pass
            backend.close()
            status = 0
        finally:
            os._exit(status)

    def test_it_reopens_after_close(self, backend: Backend, server: RedisServer) -> None:
        backend.sessions.ping()
        backend.close()
        wait_until(lambda: len(server.command("CLIENT LIST")) == 1, "the connection is closed")
        backend.sessions.ping()

    def test_a_gevent_timeout_leaves_no_reply_behind(self, server: RedisServer) -> None:
        program = """
from gevent import monkey; monkey.patch_all()
import os, signal, sys, time, gevent
from wsgi_sessions.stores.redis.backend import open_redis
url, pid = sys.argv[1], int(sys.argv[2])
one, other = "1" * 64, "2" * 64
backend = open_redis(url)
backend.sessions.create(one, b"one", time.time() + 60)
backend.sessions.create(other, b"other", time.time() + 60)
os.kill(pid, signal.SIGSTOP)
try:
    with gevent.Timeout(0.05):
        backend.sessions.load(one)
except gevent.Timeout:
    print("interrupted", flush=True)
finally:
    os.kill(pid, signal.SIGCONT)
print(backend.sessions.load(other).payload.decode())

turns = []
def work():
    with backend.locks.hold(one, 5):
        turns.append("in"); gevent.sleep(0.01); turns.append("out")
gevent.joinall([gevent.spawn(work) for _ in range(4)], raise_error=True)
print(turns == ["in", "out"] * 4)
backend.close()
"""
        arguments = [sys.executable, "-c", program, server.url, str(server.pid)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
        assert done.stdout.split() == ["interrupted", "other", "True"], done.stderr


def increment(backend: Backend) -> bool:
    record = backend.sessions.load(KEY)
    assert record is not None
    payload = str(int(record.payload) + 1).encode()
    try:
        backend.sessions.save(KEY, payload, later(), expected_version=record.version)
    except VersionConflict:
        return False
    return True


class TestSentinel:
    def test_it_follows_a_failover(self) -> None:
        with SentinelGroup() as group, opened(group.url) as backend:
            backend.sessions.create(KEY, b"kept", later())
            wait_until(lambda: group.replica.command("DBSIZE") == 1, "a replicated record")
            group.primary.kill()
            wait_until(lambda: group.primary_port() == group.replica.port, "a failover", 15)
            wait_until(lambda: loads(backend), "the store follows", 5)
            assert backend.sessions.save(KEY, b"new", later(), expected_version=1) == 2

    def test_an_unknown_service(self) -> None:
        with RedisServer(role="sentinel") as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/nobody"
            with opened(url) as backend:
                error = unavailable(backend.sessions.ping)
        assert "nobody" in str(error)
        assert "no sentinel knows" in str(error.__cause__)

    def test_a_dead_sentinel_is_passed_over(self, own_server: RedisServer) -> None:
        options = {"sentinel monitor": f"main 127.0.0.1 {own_server.port} 1"}
        with RedisServer(role="sentinel", options=options) as sentinel:
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main"
            with opened(url) as backend:
                backend.sessions.ping()

    def test_a_replica_is_not_taken_for_the_primary(self, own_server: RedisServer) -> None:
        with RedisServer(options={"replicaof": f"127.0.0.1 {own_server.port}"}) as replica:
            options = {"sentinel monitor": f"main 127.0.0.1 {replica.port} 1"}
            with RedisServer(role="sentinel", options=options) as sentinel:
                url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
                with opened(url) as backend:
                    error = unavailable(lambda: backend.sessions.load(KEY))
        assert "read-only replica" in str(error)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterGroup]:
    with ClusterGroup() as group:
        yield group


class TestCluster:
    KEYS = tuple(hashlib.sha256(bytes([n])).hexdigest() for n in range(30))

    @pytest.fixture
    def clustered(self, cluster: ClusterGroup) -> Iterator[Backend]:
        for node in cluster.nodes:
            node.command("FLUSHALL")
        with opened(cluster.url) as backend:
            yield backend

    def test_sessions_lie_on_all_nodes(self, clustered: Backend, cluster: ClusterGroup) -> None:
        for key in self.KEYS:
            clustered.sessions.create(key, b"x", later())
            clustered.sessions.save(key, b"y", later(), expected_version=1)
        assert all(node.command("DBSIZE") for node in cluster.nodes)
        assert sorted(clustered.iteration.keys()) == sorted(self.KEYS)
        assert clustered.iteration.count() == len(self.KEYS)
        clustered.sessions.ping()

    def test_each_command_stays_in_one_slot(self, clustered: Backend) -> None:
        assert clustered.quarantine is not None
        assert clustered.advice is not None
        for key in self.KEYS:
            clustered.index.add("alice", key, later())
            with clustered.locks.hold(key, 1):
                clustered.sessions.create(key, b"x", later())
            clustered.quarantine.set_aside(key, 1, "a test")
        assert sorted(clustered.index.keys_of("alice")) == sorted(self.KEYS)
        assert clustered.quarantine.quarantined() == len(self.KEYS)
        assert clustered.advice.warnings() == []

    def test_any_node_leads_to_the_others(self, cluster: ClusterGroup) -> None:
        dead = "127.0.0.1:1"
        with opened(f"redis+cluster://{dead},127.0.0.1:{cluster.nodes[2].port}") as backend:
            for key in self.KEYS:
                backend.sessions.load(key)

    def test_it_follows_a_slot_that_moves(self, clustered: Backend, cluster: ClusterGroup) -> None:
        key = self.KEYS[0]
        name = f"session:{{{key}}}"
        clustered.sessions.create(key, b"kept", later())
        source = cluster.owner(name)
        target = next(node for node in cluster.nodes if node is not source)
        slot = source.command("CLUSTER", "KEYSLOT", name)
        identity = {node: node.command("CLUSTER", "MYID").decode() for node in (source, target)}
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", identity[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", identity[target])
        source.command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        try:
            record = clustered.sessions.load(key)  # by ASK
            assert record is not None
            assert clustered.sessions.save(key, b"new", later(), expected_version=1) == 2
        finally:
            for node in (target, source):
                node.command("CLUSTER", "SETSLOT", slot, "NODE", identity[target])
        record = clustered.sessions.load(key)  # by MOVED
        assert record is not None
        assert record.payload == b"new"
        target.command("FLUSHALL")
        for node in (source, target):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", identity[source])

    def test_one_hung_node_holds_up_its_own_keys_only(
        self, clustered: Backend, cluster: ClusterGroup
    ) -> None:
        for key in self.KEYS:
            clustered.sessions.load(key)
        hung = cluster.nodes[1]
        theirs = [key for key in self.KEYS if cluster.owner(f"session:{{{key}}}") is hung]
        others = [key for key in self.KEYS if key not in theirs]
        hung.pause()
        try:
            for _ in range(3):
                unavailable(lambda: clustered.sessions.load(theirs[0]))
                assert clustered.sessions.load(others[0]) is None
        finally:
            hung.resume()
        wait_until(lambda: self._answers(clustered, theirs[0]), "the hung node is back", 5)

    @staticmethod
    def _answers(backend: Backend, key: str) -> bool:
        try:
            backend.sessions.load(key)
        except StoreUnavailable:
            return False
        return True

    def test_no_server_listens(self) -> None:
        with opened("redis+cluster://127.0.0.1:1,127.0.0.1:2") as backend:
            error = unavailable(lambda: backend.sessions.load(KEY))
        assert error.operation == "load"
        assert error.key == KEY[:10]


class TestURLs:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("redis://", "host is missing"),
            ("redis:///0", "host is missing"),
            ("redis://:secret@", "host is missing"),
            ("redis://:secret@:6379", "host is missing"),
            ("redis://localhost/abc", "database 'abc'"),
            ("redis://localhost/-1", "database '-1'"),
            ("redis://localhost/0/1", "database '0/1'"),
            ("redis://localhost/\uff11\uff10", "database"),
            ("redis://localhost:99999/0", "the port after a host"),
            ("redis://localhost:0/0", "the port after a host"),
            ("redis://localhost:/0", "the port after a host"),
            ("redis://localhost:port/0", "the port after a host"),
            ("redis://user:secret", "user:password goes before an '@'"),
            ("redis://user:secret/0", "user:password goes before an '@'"),
            ("redis+sentinel://user:secret/main/0", "user:password goes before an '@'"),
            ("redis+cluster://user:secret", "user:password goes before an '@'"),
            ("redis://user:secret@", "host is missing"),
            ("redis://:secret@/0", "host is missing"),
            ("redis://[::1/0", "bracket"),
            ("redis://[::1:6379/0", "bracket"),
            ("redis://[nonsense]:6379/0", "IPv6|bracket"),
            ("redis://[::1]x:6379/0", "IPv6|bracket"),
            ("redis://localhost?socket_timeout=60", "unknown option 'socket_timeout'"),
            ("redis://localhost?decode_responses=1", "unknown option"),
            ("redis://localhost?db", "name=value"),
            ("redis://localhost/1?db=1", "given twice"),
            ("redis://localhost?db=1&db=2", "once"),
            ("redis://localhost?ssl_cert_reqs=none", "unknown option"),
            ("redis://h1,h2/0", "sentinel"),
            ("redis://local host/0", "blank"),
            ("redis://localhost/0\r\n", "control character"),
            ("redis://:sec#ret@localhost", "%23"),
            ("redis://:sec/ret@localhost", "%2F"),
            ("redis://:sec?ret@localhost", "%3F"),
            ("redis://:sec\u2100ret@localhost", "no URL has"),
            ("redis://local$host", "no host name"),
            ("rediss://localhost?ssl_cert_reqs=maybe", "none, optional, required"),
            ("rediss://localhost?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs: no readable file"),
            ("unix://", "path is missing"),
            ("unix:///", "path is missing"),
            ("unix://run/redis.sock", "no host"),
            ("unix:///run/redis.sock?db=x", "database 'x'"),
            ("redis+sentinel://localhost", "service is missing"),
            ("redis+sentinel://localhost/", "service is missing"),
            ("redis+sentinel://h1,,h2/service", "host is missing"),
            ("redis+sentinel://h1/service/zero", "database 'zero'"),
            ("redis+cluster://h1,h2/1", "database 0 only"),
            ("redis+cluster://h1?db=0", "unknown option"),
            ("http://localhost", "not a Redis URL"),
            ("redis:localhost", "not a Redis URL"),
            ("", "not a Redis URL"),
        ],
    )
    def test_bad_ones_are_named(self, url: str, says: str) -> None:
        with pytest.raises(ConfigurationError, match=says) as caught:
            open_redis(url)
        shown = traceback.format_exception_only(caught.value)
        assert "sec" not in "".join(shown)
        assert "ret" not in "".join(shown)
        assert caught.value.__context__ is None or caught.value.__suppress_context__

    def test_good_ones(self) -> None:
        url = parse_url("redis://user:p%40ss%2Fword@[::1]:7000/5")
        assert url.addresses == (("::1", 7000),)
        assert str(url.addresses[0]) == "[::1]:7000"
        assert (url.username, url.password, url.db) == ("user", "p@ss/word", 5)
        assert "p@ss" not in repr(url)
        assert parse_url("redis://host").addresses == (("host", 6379),)
        assert parse_url("redis://host/?db=2").db == 2
        assert parse_url("REDIS://host").scheme == "redis"
        assert parse_url("unix:///run/my%20redis.sock?db=2").path == "/run/my redis.sock"
        sentinel = parse_url("redis+sentinel://:pw@h1:1,h2,[fe80::1]/main/3?sentinel_password=s")
        assert sentinel.addresses == (("h1", 1), ("h2", 26379), ("fe80::1", 26379))
        assert (sentinel.service, sentinel.db) == ("main", 3)
        assert (sentinel.password, sentinel.sentinel_password) == ("pw", "s")
        assert parse_url("redis+cluster://h1:7000,h2").addresses == (("h1", 7000), ("h2", 6379))

    def test_by_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 on loopback")
        with (
            RedisServer(options={"bind": "127.0.0.1 ::1"}) as server,
            opened(f"redis://[::1]:{server.port}") as backend,
        ):
            backend.sessions.ping()

    @pytest.mark.parametrize("prefix", ["{x}:", "a\n"])
    def test_bad_prefixes(self, prefix: str) -> None:
        with pytest.raises(ConfigurationError, match="prefix"):
            open_redis("redis://localhost", key_prefix=prefix)

    @pytest.mark.parametrize("timeout", [0.0, -1.0, math.inf, math.nan])
    def test_bad_timeouts(self, timeout: float) -> None:
        with pytest.raises(ConfigurationError, match="timeout"):
            open_redis("redis://localhost", timeout=timeout)
