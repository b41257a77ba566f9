"""The losses of other session libraries in a race of the same kind, as measured."""

from __future__ import annotations

from typing import NamedTuple

SENT = 320
"""Changes of a session, in bursts of 8 overlapping requests that hold it for 20 ms."""


class Loss(NamedTuple):
    """A library, and the least and the most changes that it lost, over its stores."""

    library: str
    least: int
    most: int

    def __str__(self) -> str:
        return str(self.most) if self.least == self.most else f"{self.least} to {self.most}"


LOSSES = (
    Loss("Django", 280, 280),
    Loss("Flask's cookie", 280, 280),
    Loss("Flask-Session", 277, 280),
    Loss("Beaker", 278, 280),
    Loss("pyramid_session_redis", 280, 280),
    Loss("secure-cookie", 280, 280),
)
"""From ``benchmarks/results.json``, to which a test compares it."""
