"""What a fault can take hold of."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from gunicorn_server import GunicornServer

    from histories.faults.network import Proxy
    from histories.places import HistoryPlace
    from histories.trap import Trap


@dataclass
class Scene:
    """A run that goes on: workers, store, and the proxy before it, if there is one.

    `excused` are the spans of time, of the clock of operations, in which less is promised, `stale`
    those in which what is read may be old.
    """

    workers: GunicornServer
    place: HistoryPlace
    proxy: Proxy | None
    rng: random.Random
    trap: Trap
    excused: list[tuple[float, float]] = field(default_factory=list)
    stale: list[tuple[float, float]] = field(default_factory=list)

    def linger(self, least: float, most: float) -> None:
        """Let some seconds pass, as the seed says."""
        time.sleep(self.rng.uniform(least, most))
