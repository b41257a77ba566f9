"""Measuring in rounds: each contestant runs for some milliseconds, in turn, again and again.

A ratio is taken within each round, and its median over the rounds is the result. So a machine that
gets slower meanwhile slows both sides of it.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

Call = Callable[[], object]
Timer = Callable[[int], float]  # makes so many calls; the seconds that they took
WARM_UP = 200


class Spread(NamedTuple):
    """Minimum, median and maximum over the rounds."""

    min: float
    median: float
    max: float


def spread(values: Iterable[float]) -> Spread:
    """Minimum, median and maximum; there must be a value."""
    found = sorted(values)
    return Spread(found[0], statistics.median(found), found[-1])


def timer(call: Call) -> Timer:
    """A timer of calls in this process."""

    def timed(count: int) -> float:
        gc.collect()
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start

    return timed


def measure(
    timers: Mapping[str, Timer], rounds: int, seconds: float, *, warm_up: int = WARM_UP
) -> dict[str, list[float]]:
    """Microseconds per call, one figure per round and timer."""
    counts = {}
    for number, (name, timed) in enumerate(timers.items()):
        progress(f"warming up {number + 1} of {len(timers)}: {name}")
        counts[name] = _calls_in(timed, seconds, warm_up)
    figures: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for name, timed in timers.items():
            figures[name].append(timed(counts[name]) / counts[name] * 1e6)
    progress("")
    return figures


def less(mine: Iterable[float], bare: Iterable[float]) -> list[float]:
    """What is above `bare`, round by round."""
    return [one - other for one, other in zip(mine, bare, strict=True)]


def over(mine: Iterable[float], floor: Iterable[float]) -> list[float]:
    """The ratio to `floor`, round by round."""
    return [one / other for one, other in zip(mine, floor, strict=True)]


def percentile(values: Iterable[float], part: float) -> float:
    """The value that `part` (0 to 1) of all do not exceed; there must be one."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def progress(text: str) -> None:
    """Say on a terminal what is going on; an empty text clears the line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _calls_in(timed: Timer, seconds: float, warm_up: int) -> int:
    timed(warm_up)
    return max(20, int(seconds / (timed(100) / 100)))
