"""One open connection to a Redis server: a command goes out, its reply comes in.

redis-py opens it, with TLS and time-outs. Where hiredis is installed, commands then go straight to
its socket: redis-py's own way there and back costs a request that writes a tenth of its time.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Word: TypeAlias = "str | bytes | int | float"
Command: TypeAlias = "tuple[Word, ...]"

_READ_BYTES = 16 * 1024
_MORE = object()  # what has come so far is no whole reply

_Reader: Callable[..., Any] | None
_pack: Callable[[Command], bytes]
try:
    from hiredis import Reader as _Reader
    from hiredis import pack_command as _pack  # type: ignore[assignment]  # its stub takes one word
except ImportError:
    _Reader = None


class Connection(Protocol):
    """What is used of redis-py's connections, which are annotated in part only."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Sequence[Command]) -> Any: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...  # noqa: FBT001 - redis-py's
    def read_response(self) -> Any: ...


class Link(Protocol):
    """A connection that is open and logged in, used by one thread at a time."""

    def call(self, command: Command) -> Any:
        """Send a command and read its reply.

        Raises redis-py's exceptions: `ResponseError` for an error reply, after which the link may
        be used again; after any other exception, of whatever kind, it must be closed.
        """

    def close(self) -> None:
        """Close it. Idempotent."""


def open_link(connection: Connection, greeting: Sequence[Command]) -> Link:
    """Connect, and send the greeting in one go, which is one wait. Raises redis-py's exceptions."""
    try:
        connection.connect()
        if greeting:
            connection.send_packed_command(connection.pack_commands(greeting), check_health=False)
        for _ in greeting:
            connection.read_response()
    except BaseException:
        connection.disconnect()
        raise
    # Only a plain attribute of redis-py's gives the socket. Should it be renamed, all goes on the
    # slower way.
    opened = getattr(connection, "_sock", None)
    if _Reader is None or opened is None:
        return _ViaRedisPy(connection)
    return _Direct(connection, opened)


class _ViaRedisPy:
    """Without hiredis."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def call(self, command: Command) -> Any:
        packed = self._connection.pack_commands([command])
        self._connection.send_packed_command(packed, check_health=False)
        return self._connection.read_response()

    def close(self) -> None:
        self._connection.disconnect()


class _Direct:
    """The socket that redis-py opened, and hiredis to read what comes from it."""

    __slots__ = ("_buffer", "_connection", "_feed", "_gets", "_receive", "_send")

    def __init__(self, connection: Connection, opened: socket.socket) -> None:
        assert _Reader is not None
        reader = _Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        _wait_in_kernel(opened)
        self._connection = connection
        self._buffer = bytearray(_READ_BYTES)
        self._send, self._receive = opened.sendall, opened.recv_into
        self._feed, self._gets = reader.feed, reader.gets

    def call(self, command: Command) -> Any:
        try:
            self._send(_pack(command))
            while True:
                size = self._receive(self._buffer)
                if not size:
                    raise RedisConnectionError("the server hung up")
                self._feed(self._buffer, 0, size)
                reply = self._gets()
                if reply is not _MORE:
                    break
        except (TimeoutError, BlockingIOError) as error:
            raise RedisTimeoutError("no reply in time") from error
        except OSError as error:
            raise RedisConnectionError(f"the connection broke: {error}") from error
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def close(self) -> None:
        self._connection.disconnect()


def _wait_in_kernel(opened: socket.socket) -> None:
    """Let the kernel watch the time-out of a plain socket; Python would ask ``poll`` before each
    system call, which is two more per command. What is late is then a `BlockingIOError`.

    TLS has a protocol of its own between two reads, and gevent's sockets must not block: those are
    of other classes and stay as they are.
    """
    timeout = opened.gettimeout()
    if sys.platform != "linux" or type(opened).__module__ != "socket" or not timeout:
        return
    seconds, rest = divmod(timeout, 1)
    limit = struct.pack("ll", int(seconds), max(1, int(rest * 1e6)))  # struct timeval
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    opened.settimeout(None)
