"""What a sweep costs, and what it does to the requests of another process meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.ours import url_of
from benchmarks.harness.child import Child
from benchmarks.harness.rounds import percentile, progress
from wsgi_sessions import open_backend
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contestants.table import Contestant
    from benchmarks.harness.places import Place

LIVE = 1000
REQUESTS = 1000
PAUSE = 0.0005  # seconds between two requests: a worker with other things to do
PAYLOAD = b"x" * 200


def run(contestant: Contestant, place: Place, expired: int) -> dict[str, Any]:
    """Remove so many expired sessions, while a process reads live ones of the same store."""
    own = place._replace(folder=place.part("sweep"))
    with Child(contestant.name, own) as child:
        child.log_in(LIVE)
        backend = open_backend(url_of(contestant.store, own), timeout=10.0)
        past = time.time() - 1
        for number in range(expired):
            if number % 1000 == 0:
                progress(f"sweep: {contestant.name}: {number} of {expired} expired sessions")
            backend.sessions.create(store_key(new_id()), PAYLOAD, past)
        child.latencies("/read", REQUESTS)
        before = child.latencies("/read", REQUESTS, pause=PAUSE)
        progress(f"sweep: {contestant.name}")
        child.begin("latencies", "/read", max(REQUESTS, expired // 20), PAUSE)
        began = time.perf_counter()
        sweeper = Sweeper(backend, interval=3600)
        swept = sweeper.sweep()
        seconds = time.perf_counter() - began
        during: list[float] = child.finish()
        scan = min(_seconds_of_a_sweep(sweeper) for _ in range(5))
        backend.close()
    return {
        "stored": expired + LIVE,
        "removed": swept.expired,
        "seconds": seconds,
        "µs per removed": (seconds - scan) / max(1, swept.expired) * 1e6,
        "µs per live": scan / LIVE * 1e6,
        "before": _parts(before),
        "during": _parts(_while(during, seconds)),
    }


def _seconds_of_a_sweep(sweeper: Sweeper) -> float:
    """Of one that finds live sessions only."""
    began = time.perf_counter()
    sweeper.sweep()
    return time.perf_counter() - began


def _while(latencies: Sequence[float], seconds: float) -> Sequence[float]:
    """Those of the sweep's time: they began with it."""
    spent = 0.0
    for number, latency in enumerate(latencies):
        spent += latency + PAUSE
        if spent > seconds:
            return latencies[: number + 1]
    return latencies


def _parts(latencies: Sequence[float]) -> dict[str, float]:
    return {
        "p50 µs": percentile(latencies, 0.5) * 1e6,
        "p99 µs": percentile(latencies, 0.99) * 1e6,
        "worst µs": max(latencies) * 1e6,
        "requests": len(latencies),
    }
