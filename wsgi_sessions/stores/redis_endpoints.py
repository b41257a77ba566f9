"""Where a Redis server is, and how to open a connection to it.

Connections are redis-py's own, without its pools and clients. They are opened silent (no CLIENT
SETINFO, no HELLO) and logged in here in one round trip, since each would be a wait of its own.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from redis import connection as redis_connections
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError

from wsgi_sessions.stores.redis_url import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsgi_sessions.stores.redis_url import RedisURL

Word: TypeAlias = "str | bytes | int | float"
Command: TypeAlias = "tuple[Word, ...]"

# Shares of an operation's deadline, in which the connection's own waits are measured.
CONNECT_SHARE = 0.1
REPLY_SHARE = 0.3


class Link(Protocol):
    """What is used of redis-py's connections, which are annotated in part only."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_command(self, *args: Word) -> Any: ...
    def pack_commands(self, commands: Sequence[Command]) -> Any: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...  # noqa: FBT001 - redis-py's
    def read_response(self) -> Any: ...


_pack: Callable[[Command], bytes] | None
try:
    from hiredis import pack_command as _pack  # type: ignore[assignment]  # its stub takes one word
except ImportError:
    _pack = None

_tcp: Callable[..., Link] = redis_connections.Connection
_tls: Callable[..., Link] = redis_connections.SSLConnection
_unix: Callable[..., Link] = redis_connections.UnixDomainSocketConnection


def call(connection: Link, *command: Word) -> Any:
    """Send one command and read its reply. An error reply is raised."""
    # redis-py packs with hiredis too, but looks at each word before: 2 µs per command.
    packed = connection.pack_command(*command) if _pack is None else [_pack(command)]
    connection.send_packed_command(packed, check_health=False)
    return connection.read_response()


def _converse(connection: Link, commands: Sequence[Command]) -> None:
    """Send several commands at once, which is one wait, and read their replies."""
    if commands:
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    for _ in commands:
        connection.read_response()


class Endpoint(Protocol):
    """Where a server is, and how to get a connection to it."""

    @property
    def label(self) -> str:
        """Its name in messages: host and port, no credentials."""

    def connect(self) -> Link:
        """A connection, open and logged in. Raises redis-py's exceptions."""


class FixedEndpoint:
    """One server at a known address or socket file."""

    def __init__(self, url: RedisURL, timeout: float, address: Address | None = None) -> None:
        self._url = url
        self._address = address or (url.addresses or (None,))[0]
        self._timeouts = _timeouts(timeout, REPLY_SHARE)
        self.label = str(self._address) if self._address else url.path

    def connect(self) -> Link:
        connection = self._connection()
        try:
            connection.connect()
            _converse(connection, self._log_in())
        except BaseException:
            connection.disconnect()
            raise
        return connection

    def _connection(self) -> Link:
        if self._address is None:
            return _unix(path=self._url.path, **self._timeouts)
        where = {**self._address._asdict(), "socket_keepalive": True, **self._timeouts}
        return _tls(**where, **self._url.tls) if self._url.scheme == "rediss" else _tcp(**where)

    def _log_in(self) -> list[Command]:
        commands: list[Command] = []
        if self._url.username is not None:
            commands.append(("AUTH", self._url.username, self._url.password or ""))
        elif self._url.password is not None:
            commands.append(("AUTH", self._url.password))
        if self._url.db:
            commands.append(("SELECT", self._url.db))
        return commands


class SentinelEndpoint:
    """The primary of a service, asked from the sentinels for every new connection."""

    def __init__(self, url: RedisURL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._timeouts = _timeouts(timeout, CONNECT_SHARE)
        self._sentinels = list(url.addresses)
        self.label = f"the primary of service {url.service!r}"

    def connect(self) -> Link:
        address = self._discover()
        self.label = f"{address} (primary of service {self._url.service!r})"
        connection = FixedEndpoint(self._url, self._timeout, address).connect()
        try:
            role = call(connection, "ROLE")[0]
        except BaseException:
            connection.disconnect()
            raise
        if role != b"master":
            # Sentinels learn of a failover one after the other: one of them may still name a
            # server that has become a replica, and a replica's reads are stale.
            connection.disconnect()
            raise ReadOnlyError("the sentinel named a replica")
        return connection

    def _discover(self) -> Address:
        last: RedisError | None = None
        for sentinel in self._sentinels:
            try:
                reply = self._ask(sentinel)
            except RedisError as error:
                last = error
                continue
            if reply is not None:
                # The next question goes first to the one that answered, not to a dead one.
                self._sentinels = sorted(self._sentinels, key=sentinel.__ne__)
                return Address(reply[0].decode(), int(reply[1]))
        raise last or RedisConnectionError(f"no sentinel knows service {self._url.service!r}")

    def _ask(self, sentinel: Address) -> Sequence[bytes] | None:
        connection = _tcp(**sentinel._asdict(), **self._timeouts)
        try:
            if self._url.sentinel_password is not None:
                call(connection, "AUTH", self._url.sentinel_password)
            reply: Sequence[bytes] | None = call(
                connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service
            )
            return reply
        finally:
            connection.disconnect()


def _timeouts(timeout: float, reply_share: float) -> dict[str, Any]:
    """Arguments of a redis-py connection that waits for this long and says nothing by itself."""
    return {
        "socket_connect_timeout": timeout * CONNECT_SHARE,
        "socket_timeout": timeout * reply_share,
        "protocol": 2,
        **_SILENT,
    }


# How CLIENT SETINFO is left out depends on redis-py's version.
_SILENT: dict[str, None] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis_connections.AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
