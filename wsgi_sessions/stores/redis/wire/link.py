"""One open connection to a Redis server: a command goes out, its reply comes in.

redis-py opens it, with TLS and time-outs. Commands then go straight to its socket: redis-py's own
way there and back costs a request that writes a tenth of its time, and minds no deadline.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import sys
from contextlib import suppress
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

    _Read: TypeAlias = "Callable[[float], Any]"

Word: TypeAlias = "str | bytes | int | float"
Command: TypeAlias = "tuple[Word, ...]"

_READ_BYTES = 16 * 1024
_MORE = object()  # what has come so far is no whole reply
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
        it.

        Raises redis-py's exceptions: `ResponseError` for an error reply, after which the link may
        be used again; after any other exception, of whatever kind, it must be closed.
        """

    def wait_until(self, deadline: float) -> None:
        """From now on, wait for a reply until this moment (of `clock.monotonic`), whatever the
        connection's time-out. Then the link has had its day: close it."""

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
    """Without the socket."""

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

    def wait_until(self, deadline: float) -> None:
        """Not without the socket: the time-out stays as it is."""

    def is_fresh(self) -> bool:
        try:
            return not self._connection.can_read()
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        self._connection.disconnect()


class _Direct:
    """The socket that redis-py opened, and hiredis to read what comes from it."""

    __slots__ = ("_connection", "_gets", "_opened", "_read", "_reader", "_send", "call", "is_fresh")

    def __init__(self, connection: Connection, opened: socket.socket) -> None:
        reader = _Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_MORE,
        )
        self._connection, self._opened, self._reader = connection, opened, reader
        self.is_fresh = _freshness(opened)
        self._send, self._gets = opened.sendall, reader.gets
        self._read = _reading(opened.recv_into, reader)
        self.call = _calling(opened, reader, self._read)

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
            raise _fault(error, self._read) from error

    def wait_until(self, deadline: float) -> None:
        opened = self._opened

        def receive(buffer: bytearray) -> int:
            _limit(opened, deadline - monotonic())
            return opened.recv_into(buffer)

        self._read = _reading(receive, self._reader)
        self.call = _calling(opened, self._reader, self._read)

    def close(self) -> None:
        self._connection.disconnect()


# Made once per connection, so that a command need not look each method of socket and reader up.


def _calling(opened: socket.socket, reader: Any, read: _Read) -> _SendCommand:
    """`Link.call` for this connection."""
    send, send_some, has_more = opened.sendall, opened.send, reader.has_data

    def call(command: Command, latest: float = math.inf) -> Any:
        packed = _pack(command)
        try:
            if len(packed) <= _READ_BYTES:
                send(packed)
            else:
                _send_slowly(send_some, packed, latest)
            reply = read(latest)
        except OSError as error:
            raise _fault(error, read) from error
        if has_more():
            raise InvalidResponse("more came than the reply that was asked for")
        if isinstance(reply, RedisError):
            raise reply
        return reply

    return call


def _reading(receive: Callable[[bytearray], int], reader: Any) -> _Read:
    """What waits for a reply until all of it is there, or until a moment has passed."""
    feed, gets = reader.feed, reader.gets
    buffer = bytearray(_READ_BYTES)

    def read(latest: float) -> Any:
        while True:
            size = receive(buffer)
            if not size:
                raise RedisConnectionError("the server hung up")
            feed(buffer, 0, size)
            reply = gets()
            if reply is not _MORE:
                return reply
            if monotonic() > latest:
                raise RedisTimeoutError(_TOO_LATE)

    return read


def _freshness(opened: socket.socket) -> Callable[[], bool]:
    """`Link.is_fresh` for this connection."""
    poll = _wait_in_kernel(opened)
    if poll is None:
        return lambda: _is_silent(opened)
    return lambda: not poll(0)


def _fault(error: OSError, read: _Read) -> RedisError:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return RedisTimeoutError("no reply in time")
    if isinstance(error, (BrokenPipeError, ConnectionResetError)):
        # A server that takes no client says why before it hangs up, unasked.
        with suppress(OSError, RedisError):
            reply = read(0.0)
            if isinstance(reply, RedisError):
                return reply
    return RedisConnectionError(f"the connection broke: {error}")


def _send_slowly(send_some: Callable[[memoryview], int], packed: bytes, latest: float) -> None:
    """What may not fit into the kernel's buffer at once, so that the peer can hold it up."""
    left = memoryview(packed)
    while left := left[send_some(left) :]:
        if monotonic() > latest:
            raise RedisTimeoutError(_TOO_LATE)


def _is_silent(opened: socket.socket) -> bool:
    """Whether nothing has come, by an attempt to read.

    On TLS a server may write what is for the protocol alone: that is read by the way.
    """
    timeout = opened.gettimeout()
    opened.settimeout(0.0)
    try:
        opened.recv(1)
    except (BlockingIOError, SSLWantReadError):
        return True
    except OSError:
        return False
    finally:
        opened.settimeout(timeout)
    return False


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
    for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        opened.setsockopt(socket.SOL_SOCKET, way, _timeval(timeout))
    opened.settimeout(None)
    poller = select.poll()
    poller.register(opened, select.POLLIN)
    return poller.poll


def _limit(opened: socket.socket, seconds: float) -> None:
    """Let the next wait for something to read take this long, whoever watches the time."""
    if opened.gettimeout() is None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))
    else:
        opened.settimeout(max(_SHORTEST, seconds))


def _timeval(seconds: float) -> bytes:
    """A struct timeval; of none, the kernel would wait for ever."""
    whole, rest = divmod(max(_SHORTEST, seconds), 1)
    return struct.pack("ll", int(whole), max(1, int(rest * 1e6)))
