"""One open connection to a Redis server: a command goes out, its reply comes in.

redis-py opens it, with TLS and time-outs. Where hiredis is installed, commands then go straight to
its socket: redis-py's own way there and back costs a request that writes a tenth of its time.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wsgi_sessions.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Word: TypeAlias = "str | bytes | int | float"
Command: TypeAlias = "tuple[Word, ...]"

_READ_BYTES = 16 * 1024
_MORE = object()  # what has come so far is no whole reply
_TOO_LATE = "the exchange took too long"

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
    def can_read(self) -> bool: ...


class Link(Protocol):
    """A connection that is open and logged in, used by one thread at a time."""

    def call(self, command: Command, latest: float = math.inf) -> Any:
        """Send a command and read its reply.

        One wait for the peer takes the connection's time-out at most; after the moment `latest` (of
        `clock.monotonic`) none is begun, so that a peer that sends byte after byte cannot prolong
        it. Without hiredis, that holds for the first byte of the reply only.

        Raises redis-py's exceptions: `ResponseError` for an error reply, after which the link may
        be used again; after any other exception, of whatever kind, it must be closed.
        """

    def is_fresh(self) -> bool:
        """Whether it may be used again: nothing has come that nobody asked for, nor a hang-up.

        After one reply too many, each command would read the reply to the one before.
        """

    def close(self) -> None:
        """Close it. Idempotent."""


def open_link(
    connection: Connection, greeting: Sequence[Command], latest: float = math.inf
) -> Link:
    """Connect, and send the greeting in one go, which is one wait. Raises redis-py's exceptions."""
    link: Link | None = None
    try:
        connection.connect()
        # Only a plain attribute of redis-py's gives the socket. Should it be renamed, all goes on
        # the slower way.
        opened = getattr(connection, "_sock", None)
        if _Reader is None or opened is None:
            link = via = _ViaRedisPy(connection)
            via.greet(greeting)
        else:
            link = direct = _Direct(connection, opened)
            direct.greet(greeting, latest)
    except BaseException:
        connection.disconnect()
        raise
    return link


class _ViaRedisPy:
    """Without hiredis."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def greet(self, commands: Sequence[Command]) -> None:
        """Send all of them, then read their replies."""
        if commands:
            packed = self._connection.pack_commands(commands)
            self._connection.send_packed_command(packed, check_health=False)
        for _ in commands:
            self._connection.read_response()

    def call(self, command: Command, latest: float = math.inf) -> Any:
        if monotonic() > latest:
            raise RedisTimeoutError(_TOO_LATE)
        packed = self._connection.pack_commands([command])
        self._connection.send_packed_command(packed, check_health=False)
        return self._connection.read_response()

    def is_fresh(self) -> bool:
        try:
            return not self._connection.can_read()
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        self._connection.disconnect()


class _Direct:
    """The socket that redis-py opened, and hiredis to read what comes from it."""

    __slots__ = (
        *("_buffer", "_connection", "_feed", "_gets", "_has_more", "_poll", "_receive"),
        *("_send", "_send_some"),
    )

    def __init__(self, connection: Connection, opened: socket.socket) -> None:
        assert _Reader is not None
        reader = _Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        self._poll = _wait_in_kernel(opened)
        self._connection = connection
        self._buffer = bytearray(_READ_BYTES)
        self._send, self._send_some = opened.sendall, opened.send
        self._receive = opened.recv_into
        self._feed, self._gets, self._has_more = reader.feed, reader.gets, reader.has_data

    def greet(self, commands: Sequence[Command], latest: float) -> None:
        """Send all of them, then read their replies. Raises as `call` does."""
        try:
            if commands:
                self._send(b"".join(map(_pack, commands)))
            for _ in commands:
                reply = self._gets()
                if reply is _MORE:
                    reply = self._read(latest)
                if isinstance(reply, RedisError):
                    raise reply
        except OSError as error:
            raise _fault(error) from error

    def call(self, command: Command, latest: float = math.inf) -> Any:
        packed = _pack(command)
        try:
            if len(packed) <= _READ_BYTES:
                self._send(packed)
            else:
                self._send_slowly(packed, latest)
            reply = self._read(latest)
        except OSError as error:
            raise _fault(error) from error
        if self._has_more():
            raise InvalidResponse("more came than the reply that was asked for")
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def is_fresh(self) -> bool:
        # A server may write by itself on TLS, so nothing can be told of that from outside.
        return self._poll is None or not self._poll(0)

    def close(self) -> None:
        self._connection.disconnect()

    def _read(self, latest: float) -> Any:
        while True:
            size = self._receive(self._buffer)
            if not size:
                raise RedisConnectionError("the server hung up")
            self._feed(self._buffer, 0, size)
            reply = self._gets()
            if reply is not _MORE:
                return reply
            if monotonic() > latest:
                raise RedisTimeoutError(_TOO_LATE)

    def _send_slowly(self, packed: bytes, latest: float) -> None:
        """What may not fit into the kernel's buffer at once, so that the peer can hold it up."""
        left = memoryview(packed)
        while left := left[self._send_some(left) :]:
            if monotonic() > latest:
                raise RedisTimeoutError(_TOO_LATE)


def _fault(error: OSError) -> RedisError:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return RedisTimeoutError("no reply in time")
    return RedisConnectionError(f"the connection broke: {error}")


def _wait_in_kernel(opened: socket.socket) -> Callable[[int], list[tuple[int, int]]] | None:
    """Let the kernel watch the time-out of a plain socket; Python would ask ``poll`` before each
    system call, which is two more per command. What is late is then a `BlockingIOError`.

    TLS has a protocol of its own between two reads, and gevent's sockets must not block: those are
    of other classes and stay as they are.

    Return what tells whether such a socket has something to read, or None for the others.
    """
    timeout = opened.gettimeout()
    if sys.platform != "linux" or type(opened).__module__ != "socket" or not timeout:
        return None
    seconds, rest = divmod(timeout, 1)
    limit = struct.pack("ll", int(seconds), max(1, int(rest * 1e6)))  # struct timeval
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    opened.settimeout(None)
    poller = select.poll()
    poller.register(opened, select.POLLIN)
    return poller.poll
