"""One open connection to a Redis server: a command goes out, its reply comes in.

redis-py opens it, with TLS and time-outs. Commands then go straight to its socket: redis-py's own
way there and back costs a request that writes a tenth of its time, and knows no deadline.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import sys
from contextlib import suppress
from functools import partial
from ssl import SSLWantReadError
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from wsgi_sessions.clock import monotonic
from wsgi_sessions.stores.redis import resp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    _Receive: TypeAlias = "Callable[[bytearray], int]"
    _Read: TypeAlias = "Callable[..., Any]"

Word: TypeAlias = "str | bytes | int | float"
Command: TypeAlias = "tuple[Word, ...]"

_READ_BYTES = 16 * 1024
_MORE = object()  # the received bytes are not a whole reply
_SHORTEST = 0.001  # seconds
_TOO_LATE = "the exchange took too long"

_Reader: Callable[..., Any]
_pack: Callable[[Command], bytes]
try:
    from hiredis import Reader as _Reader
    from hiredis import pack_command as _pack  # type: ignore[assignment]  # its stub takes one word
except ImportError:
    _Reader, _pack = resp.Reader, resp.pack


class _SendCommand(Protocol):
    def __call__(self, command: Command, latest: float = ...) -> Any: ...


class Connection(Protocol):
    """The used part of redis-py's connections, which are annotated only in part."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Sequence[Command]) -> Any: ...
    def send_packed_command(self, command: Any, check_health: bool = ...) -> None: ...  # noqa: FBT001 - redis-py's
    def read_response(self) -> Any: ...
    def can_read(self) -> bool: ...


class Link(Protocol):
    """An open, logged-in connection, used by one thread at a time."""

    def call(self, command: Command, latest: float = math.inf) -> Any:
        """Send a command and return its reply.

        One wait for the peer takes the connection's time-out at most; no wait begins after the
        moment `latest` (of `clock.monotonic`), so that a peer that sends byte after byte cannot
        prolong it.

        Raises redis-py's exceptions: `ResponseError` for an error reply, after which the link may
        be used again; after any other exception, it must be closed.
        """

    def wait_until(self, deadline: float) -> None:
        """Wait for replies until this moment (`clock.monotonic`), past the connection's time-out.

        Close the link afterwards.
        """

    def has_news(self) -> object:
        """Return whether anything unexpected has come, or a hang-up: then close the link.

        After one surplus reply, each command would read the reply to the one before.
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
        # Only a plain attribute of redis-py gives the socket. If it is renamed, commands take the
        # slower way.
        opened = getattr(connection, "_sock", None)
        if opened is None:
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
    """A link without access to the socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def greet(self, commands: Sequence[Command]) -> None:
        """Send all commands, then read their replies."""
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

    def wait_until(self, deadline: float) -> None:
        """Do nothing: without the socket, the time-out stays as it is."""

    def has_news(self) -> object:
        try:
            return self._connection.can_read()
        except (RedisError, OSError):
            return True

    def close(self) -> None:
        self._connection.disconnect()


class _Direct:
    """A link with the socket that redis-py opened, and hiredis to parse what comes."""

    __slots__ = ("_connection", "_gets", "_opened", "_read", "_reader", "_send", "call", "has_news")

    def __init__(self, connection: Connection, opened: socket.socket) -> None:
        reader = _Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        self._connection, self._opened, self._reader = connection, opened, reader
        self.has_news = _news(opened)
        self._send, self._gets = opened.sendall, reader.gets
        self._take(opened.recv_into)

    def greet(self, commands: Sequence[Command], latest: float) -> None:
        """Send all commands, then read their replies. Raises as `call`."""
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
            raise _fault(error, self._read) from error

    def wait_until(self, deadline: float) -> None:
        opened = self._opened

        def receive(buffer: bytearray) -> int:
            _limit(opened, deadline - monotonic())
            return opened.recv_into(buffer)

        self._take(receive)

    def _take(self, receive: _Receive) -> None:
        buffer = bytearray(_READ_BYTES)
        self._read = _reading(receive, self._reader, buffer)
        self.call = _calling(self._opened, self._reader, receive, buffer, self._read)

    def close(self) -> None:
        self._connection.disconnect()


# Made once per connection, so that a command need not look up each method of socket and reader.


def _calling(
    opened: socket.socket, reader: Any, receive: _Receive, buffer: bytearray, read: _Read
) -> _SendCommand:
    """Return `Link.call` for this connection. Most replies come whole, with the first read."""
    send, send_some, has_more = opened.sendall, opened.send, reader.has_data
    feed, gets = reader.feed, reader.gets

    def call(command: Command, latest: float = math.inf) -> Any:
        packed = _pack(command)
        try:
            if len(packed) <= _READ_BYTES:
                send(packed)
            else:
                _send_slowly(send_some, packed, latest)
            feed(buffer, 0, receive(buffer))
            reply = gets()
            if reply is _MORE:  # also if the server hung up
                reply = read(latest, has_begun=True)
        except OSError as error:
            raise _fault(error, read) from error
        if has_more():
            raise InvalidResponse("more came than the reply that was asked for")
        if isinstance(reply, RedisError):
            raise reply
        return reply

    return call


def _reading(receive: _Receive, reader: Any, buffer: bytearray) -> _Read:
    """Return a function that reads until a whole reply is there, or a moment has passed.

    Reading the rest of a reply (`has_begun`) starts only before that moment.
    """
    feed, gets = reader.feed, reader.gets

    def read(latest: float, *, has_begun: bool = False) -> Any:
        while True:
            if has_begun and monotonic() > latest:
                raise RedisTimeoutError(_TOO_LATE)
            has_begun = True
            size = receive(buffer)
            if not size:
                raise RedisConnectionError("the server hung up")
            feed(buffer, 0, size)
            reply = gets()
            if reply is not _MORE:
                return reply

    return read


def _news(opened: socket.socket) -> Callable[[], object]:
    """Return `Link.has_news` for this connection."""
    poll = _wait_in_kernel(opened)
    return partial(_has_come, opened) if poll is None else partial(poll, 0)


def _fault(error: OSError, read: _Read) -> RedisError:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return RedisTimeoutError("no reply in time")
    if isinstance(error, (BrokenPipeError, ConnectionResetError)):
        # A server without room for a client says so before it hangs up, unasked.
        with suppress(OSError, RedisError):
            reply = read(0.0)
            if isinstance(reply, RedisError):
                return reply
    return RedisConnectionError(f"the connection broke: {error}")


def _send_slowly(send_some: Callable[[memoryview], int], packed: bytes, latest: float) -> None:
    """Send a command that may not fit into the kernel's buffer, so that the peer can delay it."""
    left = memoryview(packed)
    while left := left[send_some(left) :]:
        if monotonic() > latest:
            raise RedisTimeoutError(_TOO_LATE)


def _has_come(opened: socket.socket) -> bool:
    """Return whether anything has come, by an attempt to read.

    On TLS a server may send data for the protocol alone: the attempt reads it too.
    """
    timeout = opened.gettimeout()
    opened.settimeout(0.0)
    try:
        opened.recv(1)
    except (BlockingIOError, SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        opened.settimeout(timeout)
    return True


def _wait_in_kernel(opened: socket.socket) -> Callable[[int], list[tuple[int, int]]] | None:
    """Let the kernel watch the time-out of a plain socket; a late reply is a `BlockingIOError`.

    Python would call ``poll`` before each system call, which is two more per command. TLS has a
    protocol of its own between two reads, and gevent's sockets must not block: those are of other
    classes and stay as they are.

    Returns a function that tells whether such a socket has something to read, or None for the
    others.
    """
    timeout = opened.gettimeout()
    if sys.platform != "linux" or type(opened).__module__ != "socket" or not timeout:
        return None
    for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        opened.setsockopt(socket.SOL_SOCKET, way, _timeval(timeout))
    opened.settimeout(None)
    poller = select.poll()
    poller.register(opened, select.POLLIN)
    return poller.poll


def _limit(opened: socket.socket, seconds: float) -> None:
    """Let the next wait for data take this long, by the kernel's or Python's clock."""
    if opened.gettimeout() is None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
    else:
        opened.settimeout(max(_SHORTEST, seconds))


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval; 0 would make the kernel wait for ever."""
    whole, rest = divmod(max(_SHORTEST, seconds), 1)
    return struct.pack("ll", int(whole), max(1, int(rest * 1e6)))
