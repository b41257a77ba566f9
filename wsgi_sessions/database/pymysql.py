"""PyMySQL connections that wait no longer than they may, also for a server that is stopped.

Its own time-outs are of a connection, not of an operation, and none by default.
"""

from __future__ import annotations

import math
from typing import Any

from pymysql import OperationalError
from pymysql.connections import Connection
from pymysql.constants.CR import CR_NET_PACKET_TOO_LARGE

from wsgi_sessions.clock import monotonic

_GRACE = 0.3
"""Seconds that a server has to say that it gave up a statement, before it is hung up on."""
_STEP = 0.1
"""To as many seconds a wait is rounded up: a socket is told a time-out only when that changes."""

_MOST_BYTES = 4  # of a character


class PyMySQLConnection(Connection):  # type: ignore[misc]  # PyMySQL has no types
    """A connection that hangs up when its deadline is past; nobody knows what the server has done.

    `deadline` is by `time.monotonic`. Without one, the time-outs that it was made with hold, each
    for one packet. `largest`: the server's limit of a packet, in bytes.
    """

    deadline: float | None = None
    largest: float = math.inf

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 - PyMySQL's
        """Send a statement, unless the server takes none of its size.

        It would hang up in the middle, as one does that is being restarted.
        """
        size = len(sql)
        if isinstance(sql, str) and size <= self.largest < size * _MOST_BYTES + 1:
            size = len(sql.encode(self.encoding, "surrogateescape"))
        if size >= self.largest:  # with the byte that says that it is a statement
            raise OperationalError(
                CR_NET_PACKET_TOO_LARGE,
                f"a statement of {size} bytes, where max_allowed_packet is {self.largest}",
            )
        affected: int = super().query(sql, unbuffered)
        return affected

    # PyMySQL assigns these once, and reads them before each exchange with the server.

    @property
    def _read_timeout(self) -> float | None:
        return self._left(self._reading)

    @_read_timeout.setter
    def _read_timeout(self, seconds: float | None) -> None:
        self._reading = seconds

    @property
    def _write_timeout(self) -> float | None:
        return self._left(self._writing)

    @_write_timeout.setter
    def _write_timeout(self, seconds: float | None) -> None:
        self._writing = seconds

    def _left(self, otherwise: float | None) -> float | None:
        if self.deadline is None:
            return otherwise
        left = self.deadline + _GRACE - monotonic()
        return max(_STEP, math.ceil(left / _STEP) * _STEP)


def connect(kwargs: dict[str, Any]) -> PyMySQLConnection:
    """As ``pymysql.connect``."""
    return PyMySQLConnection(**kwargs)
