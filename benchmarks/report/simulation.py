"""A small simulation of a store's population: arrival, use, idle expiry, sweeping. Seeded.

Visitors arrive at random (Poisson), make some requests with pauses (geometric, exponential), and do
not come back; a session ends one idle lifetime after its last request. A store that does not expire
by itself is swept at intervals, at a measured speed. It checks the formula that `capacity` uses:
stored sessions = arrivals per second x (time in use + idle lifetime + half a sweep interval).
"""

from __future__ import annotations

import heapq
import random
from typing import NamedTuple


class Traffic(NamedTuple):
    """How visitors behave. Times are in seconds."""

    arrivals: float  # new sessions per second
    requests: float  # mean requests per session, at least 1
    pause: float  # mean time between two of them
    idle_lifetime: float

    @property
    def in_use(self) -> float:
        """Mean time from the first to the last request."""
        return (self.requests - 1) * self.pause

    @property
    def live(self) -> float:
        """Sessions that are live at any time: Little's law."""
        return self.arrivals * (self.in_use + self.idle_lifetime)

    @property
    def requests_per_second(self) -> float:
        """Of all visitors together."""
        return self.arrivals * self.requests


class Sweeping(NamedTuple):
    """How a store gets rid of what has expired."""

    interval: float  # seconds; 0: it does so by itself, at once
    per_second: float  # records that a sweep removes


class Outcome(NamedTuple):
    """What was seen after a warm-up of two lifetimes."""

    live: float  # mean
    stored: float  # mean, expired ones that still lie there included
    most_stored: int
    requests_per_second: float
    share_of_time_sweeping: float


def simulate(traffic: Traffic, sweeping: Sweeping, *, seconds: float, seed: int) -> Outcome:
    """Run it for so long after the warm-up. The same arguments give the same outcome."""
    return _Simulation(traffic, sweeping, seed).run(seconds)


class _Simulation:
    def __init__(self, traffic: Traffic, sweeping: Sweeping, seed: int) -> None:
        self._traffic = traffic
        self._sweeping = sweeping
        self._random = random.Random(seed)
        self._endings: list[float] = []  # when live sessions end, if they are not used again
        self._expired = 0  # that lie there still
        self._now = 0.0

    def run(self, seconds: float) -> Outcome:
        """See `simulate`."""
        lifetime = self._traffic.in_use + self._traffic.idle_lifetime
        begin = 2 * lifetime
        end, step = begin + seconds, lifetime / 200
        samples: list[tuple[int, int]] = []
        requests = 0
        sweeping = 0.0
        next_sweep = self._sweeping.interval
        arrival = self._next_arrival()
        while self._now < end:
            self._now += step
            while arrival <= self._now:
                made = self._arrive(arrival)
                requests += made if arrival >= begin else 0
                arrival += self._next_arrival()
            self._expire()
            if self._now >= next_sweep:
                took = self._sweep()
                sweeping += took if self._now >= begin else 0
                next_sweep += self._sweeping.interval or step
            if self._now >= begin:
                samples.append((len(self._endings), len(self._endings) + self._expired))
        return Outcome(
            live=sum(live for live, _ in samples) / len(samples),
            stored=sum(stored for _, stored in samples) / len(samples),
            most_stored=max(stored for _, stored in samples),
            requests_per_second=requests / seconds,
            share_of_time_sweeping=sweeping / seconds,
        )

    def _next_arrival(self) -> float:
        return self._random.expovariate(self._traffic.arrivals)

    def _arrive(self, at: float) -> int:
        """One visitor; the number of requests."""
        count = 1
        while self._random.random() > 1 / self._traffic.requests:
            count += 1
            at += self._random.expovariate(1 / self._traffic.pause)
        heapq.heappush(self._endings, at + self._traffic.idle_lifetime)
        return count

    def _expire(self) -> None:
        while self._endings and self._endings[0] <= self._now:
            heapq.heappop(self._endings)
            self._expired += 1

    def _sweep(self) -> float:
        took = self._expired / self._sweeping.per_second
        self._expired = 0
        return took
