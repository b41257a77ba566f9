"""The protocol of Redis (RESP2) without hiredis: its `Reader` and `pack_command`.

redis-py's own parser reads from the socket itself, so no deadline reaches into a reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE = b"\r\n"
_DEEPEST = 7  # CLUSTER SLOTS has the deepest reply of all that are used: four


class _Incomplete(Exception):
    """The received bytes are not a whole reply."""


def pack(command: tuple[str | bytes | int | float, ...]) -> bytes:
    """Return a command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts += [b"$%d\r\n" % len(data), data, _LINE]
    return b"".join(parts)


class Reader:
    """Makes replies of the bytes that it is fed.

    `gets` returns `notEnoughData` without a whole reply; `replyError` makes an exception of an
    error's text, `protocolError` is raised for anything that is not a reply.
    """

    def __init__(
        self,
        *,
        protocolError: Callable[[str], Exception],  # noqa: N803  # hiredis' names
        replyError: Callable[[str], Exception],  # noqa: N803
        notEnoughData: object,  # noqa: N803
    ) -> None:
        self._protocol_error = protocolError
        self._reply_error = replyError
        self._not_enough = notEnoughData
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes | bytearray, start: int, size: int) -> None:
        """Take `size` bytes from `start` on."""
        self._data += memoryview(data)[start : start + size]

    def has_data(self) -> bool:
        """Return whether more bytes have come than were used."""
        return bool(self._data)

    def gets(self) -> Any:
        """Return the next reply."""
        self._at = 0
        try:
            reply = self._reply(_DEEPEST)
        except _Incomplete:
            return self._not_enough
        except ValueError:
            raise self._protocol_error("a number was expected") from None
        del self._data[: self._at]
        return reply

    def _reply(self, depth: int) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._bulk(int(rest))
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return self._reply_error(rest.decode("utf-8", "replace"))
        if kind != b"*" or not depth:
            raise self._protocol_error("this is not a reply of Redis")
        count = int(rest)
        return None if count < 0 else [self._reply(depth - 1) for _ in range(count)]

    def _line(self) -> bytes:
        end = self._data.find(_LINE, self._at)
        if end < 0:
            raise _Incomplete
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, size: int) -> bytes | None:
        if size < 0:
            return None
        start, end = self._at, self._at + size
        if len(self._data) < end + 2:
            raise _Incomplete
        self._at = end + 2
        return bytes(self._data[start:end])
