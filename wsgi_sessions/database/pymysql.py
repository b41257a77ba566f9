"""PyMySQL connections with a deadline, even if the server is stopped.

Its own time-outs are per connection, not per operation, and off by default.
"""

from __future__ import annotations

import math
from typing import Any

from pymysql import OperationalError
from pymysql.connections import Connection
from pymysql.constants.CR import CR_NET_PACKET_TOO_LARGE

from wsgi_sessions.clock import monotonic

_GRACE = 0.3
"""Seconds that a server has to confirm a cancelled statement, before the client hangs up."""
_STEP = 0.1
"""Waits are rounded up to this many seconds: a socket's time-out is set only if it changes."""

_MOST_BYTES = 4  # of a character


class PyMySQLConnection(Connection):  # type: ignore[misc]  # PyMySQL has no types
    """A connection that hangs up at its deadline; the outcome is then unknown.

    `deadline` is by `time.monotonic`. Without one, the time-outs from its creation count, each for
    one packet. `largest`: the server's limit of a packet, in bytes.
    """

    deadline: float | None = None
    largest: float = math.inf

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 - PyMySQL's
        """Send a statement, unless it is too large for the server.

        The server would hang up in the middle, as one does that is being restarted.
        """
        size = len(sql)
        if isinstance(sql, str) and size <= self.largest < size * _MOST_BYTES + 1:
            size = len(sql.encode(self.encoding, "surrogateescape"))
        if size >= self.largest:  # with the byte for the kind of packet
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
    """Connect like ``pymysql.connect``."""
    return PyMySQLConnection(**kwargs)
