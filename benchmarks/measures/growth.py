"""Measure 4: what a request costs when many sessions are stored, when they are large, and while the
sweeper removes expired ones; and what a stored session takes.

A growing store is compared with one of 100 sessions of the same contestant, in turn, in the same
rounds. Requests are made by visitors chosen at random.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from redis_servers import RedisServer

from benchmarks.contestants.table import BY_NAME, CACHELIB_500, Contestant, present
from benchmarks.harness.child import Child
from benchmarks.harness.machine import awake
from benchmarks.harness.places import Place, postgresql
from benchmarks.harness.rounds import measure, over, percentile, progress, spread
from benchmarks.harness.targets import Verdict, at_most
from benchmarks.measures.sweeping import run as run_sweep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEW = 100
SIZES = (200, 4096, 65536)
PATHS = ("/read", "/write")
PEERS = (
    "secure-cookie, files",
    "Django, files",
    "Flask-Session, cachelib",
    "pyramid_session_redis, Redis",
)
SQL = ("sqlite", "postgresql")


class Extent(NamedTuple):
    """How far to go, and how thoroughly."""

    ours: Sequence[int]  # how many sessions, on files and Redis
    others: Sequence[int]  # SQL and peers
    rounds: int
    requests: int  # in each round
    swept: int


QUICK = Extent((1_000,), (1_000,), 2, 100, 2_000)
NORMAL = Extent((10_000, 100_000), (10_000,), 6, 400, 50_000)
FULL = Extent((10_000, 100_000, 1_000_000), (10_000, 100_000), 8, 1000, 100_000)


def run(place: Place, extent: Extent) -> dict[str, Any]:
    """All of it, as JSON."""
    here = {one.name: one for one in present(place)[0]}
    names = [one.name for one in here.values() if one.kind == "ours"]
    names += [name for name in PEERS if name in here]
    with awake():
        rows = {name: _grow(BY_NAME[name], place, extent) for name in names}
        sizes = _by_size([here[name] for name in names], place, extent)
        sweeps = {
            one.name: run_sweep(one, place, _swept(one, extent))
            for one in here.values()
            if one.kind == "ours" and one.store not in ("redis", "none")
        }
    progress("")
    return {
        "sessions": rows,
        "sizes": sizes,
        "sweep": sweeps,
        "evicted": _evicted(place) if CACHELIB_500.missing(place) is None else None,
        "targets": [verdict.as_json() for verdict in judge(rows)],
    }


def _swept(contestant: Contestant, extent: Extent) -> int:
    """PostgreSQL flushes each of them."""
    return extent.swept // 10 if contestant.store == "postgresql" else extent.swept


# -- how many --------------------------------------------------------------------------------------


class Growing:
    """A contestant with few sessions, and the same with many, each with its own store."""

    def __init__(self, contestant: Contestant, place: Place, stack: ExitStack) -> None:
        self._contestant = contestant
        self.few_place = _own_place(contestant, place, "few", stack)
        self.many_place = _own_place(contestant, place, "many", stack)
        self.few = stack.enter_context(Child(contestant.name, self.few_place))
        self.many = stack.enter_context(Child(contestant.name, self.many_place))
        self.few.log_in(FEW)
        self._stored = 0
        self._empty = self._bytes()

    @property
    def is_slow(self) -> bool:
        """Whether each change waits for the disk."""
        return self._contestant.store == "postgresql"

    def grow(self, count: int) -> float:
        """Have so many sessions; the seconds that each new one took."""
        began, more = time.perf_counter(), count - self._stored
        while self._stored < count:
            step = min(2000, count - self._stored)
            self.many.log_in(step)
            self._stored += step
            progress(f"growth: {self._contestant.name}: {self._stored} of {count} sessions")
        return (time.perf_counter() - began) / more

    def bytes_per_session(self) -> float:
        """What the store takes for each, on disk or in Redis' memory."""
        return (self._bytes() - self._empty) / self._stored

    def _bytes(self) -> int:
        return stored_bytes(self._contestant, self.many_place)


def _grow(contestant: Contestant, place: Place, extent: Extent) -> dict[str, Any]:
    counts = extent.ours if _goes_far(contestant) else extent.others
    rows: dict[str, Any] = {}
    with ExitStack() as stack:
        growing = Growing(contestant, place, stack)
        for count in counts:
            seconds = growing.grow(count)
            rows[str(count)] = {
                **{path: _compare(growing, path, extent) for path in PATHS},
                "µs to create": seconds * 1e6,
                "bytes per session": growing.bytes_per_session(),
            }
    return rows


def _goes_far(contestant: Contestant) -> bool:
    return contestant.kind == "ours" and contestant.store not in SQL


def _compare(growing: Growing, path: str, extent: Extent) -> dict[str, Any]:
    few, many = [], []
    requests = extent.requests // 4 if growing.is_slow else extent.requests
    growing.few.latencies(path, FEW)
    growing.many.latencies(path, FEW)
    for _ in range(extent.rounds):
        few.append(growing.few.latencies(path, requests))
        many.append(growing.many.latencies(path, requests))
    every = [latency for latencies in many for latency in latencies]
    return {
        f"p50 µs of {FEW}": percentile([one for each in few for one in each], 0.5) * 1e6,
        "p50 µs": percentile(every, 0.5) * 1e6,
        "p99 µs": percentile(every, 0.99) * 1e6,
        **{f"x {FEW} at p{p}": _ratio(many, few, p / 100)._asdict() for p in (50, 99)},
    }


def _ratio(many: Sequence[Sequence[float]], few: Sequence[Sequence[float]], part: float) -> Any:
    return spread(over([percentile(m, part) for m in many], [percentile(f, part) for f in few]))


def _own_place(contestant: Contestant, place: Place, name: str, stack: ExitStack) -> Place:
    """A place that nobody else stores anything in."""
    folder = place.part(f"growth-{name}-{contestant.adapter.replace(':', '-')}")
    if contestant.store == "redis":
        return place._replace(folder=folder, redis=stack.enter_context(RedisServer()).url)
    if contestant.store == "postgresql":
        return place._replace(folder=folder, postgresql=stack.enter_context(postgresql()))
    return place._replace(folder=folder)


def stored_bytes(contestant: Contestant, place: Place) -> int:
    """What a place that has one contestant's sessions takes: on disk, or in memory for Redis."""
    if contestant.store == "redis":
        with redis.Redis.from_url(str(place.redis)) as client:
            return int(client.info("memory")["used_memory"])
    if contestant.store == "postgresql":
        import psycopg

        with psycopg.connect(str(place.postgresql)) as connection:
            row = connection.execute(
                "SELECT sum(pg_database_size(oid)) FROM pg_database"
            ).fetchone()
            assert row is not None
            return int(row[0])
    command = ["du", "--summarize", "--block-size=1", place.folder]
    return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])


# -- how large -------------------------------------------------------------------------------------


def _by_size(contestants: Sequence[Contestant], place: Place, extent: Extent) -> dict[str, Any]:
    rows: dict[str, Any] = {one.name: {} for one in contestants}
    with ExitStack() as stack:
        timers = {}
        every = [(one, size, Child(one.name, place)) for one in contestants for size in SIZES]
        for _, _, child in every:
            stack.callback(child.close)
        for one, size, child in every:
            progress(f"sizes: {one.name}, {size} bytes")
            stack.enter_context(child)
            child.log_in(FEW, size=size)
            timers.update({f"{one.name} {size} {path}": child.timer(path) for path in PATHS})
        figures = measure(timers, extent.rounds, 0.015, warm_up=FEW)
    for key, values in figures.items():
        name, its_size, path = key.rsplit(" ", 2)
        rows[name].setdefault(its_size, {})[path] = spread(values)._asdict()
    return rows


def _evicted(place: Place) -> dict[str, int]:
    """How many of 1,000 live sessions cachelib has dropped, at its documented threshold."""
    count = 1000
    with Child(CACHELIB_500.name, place) as child:
        child.log_in(count)
        gone = sum(child.request("/read", visitor).body != "ok" for visitor in range(count))
    return {"sessions": count, "gone": gone}


# -- claims and text -------------------------------------------------------------------------------


def judge(rows: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """The claims about growth, of our files and Redis at the largest number."""
    verdicts = []
    for name in ("wsgi_sessions, files", "wsgi_sessions, Redis"):
        if name not in rows:
            continue
        count = max(rows[name], key=int)
        for path in PATHS:
            for part, limit in ((50, 1.2), (99, 1.5)):
                found = rows[name][count][path][f"x {FEW} at p{part}"]
                claim = f"{name.partition(', ')[2]}, {path[1:]}: {int(count):,} sessions, p{part}"
                ratio = spread([found["min"], found["median"], found["max"]])
                verdicts.append(at_most(claim, ratio, limit, f"x {FEW} sessions"))
    return verdicts


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = [
        (
            f"{'stored sessions':34}{'sessions':>10}{'path':>8}{'p50 µs':>9}{'p99 µs':>9}"
            f"{f'p50 x {FEW}':>11}{f'p99 x {FEW}':>11}{'create µs':>11}{'bytes each':>12}"
        )
    ]
    for name, row in report["sessions"].items():
        for count, found in row.items():
            for path in PATHS:
                one = found[path]
                lines.append(
                    f"{name:34}{int(count):10,}{path:>8}{one['p50 µs']:9.0f}{one['p99 µs']:9.0f}"
                    f"{one[f'x {FEW} at p50']['median']:11.2f}"
                    f"{one[f'x {FEW} at p99']['median']:11.2f}"
                    f"{found['µs to create']:11.0f}{found['bytes per session']:12.0f}"
                )
    sizes = "".join(f"{f'{size:,} B {path}':>16}" for size in SIZES for path in PATHS)
    lines += ["", f"{'µs per request by size (median)':34}{sizes}"]
    for name, row in report["sizes"].items():
        cells = "".join(f"{row[str(s)][p]['median']:16.1f}" for s in SIZES for p in PATHS)
        lines.append(f"{name:34}{cells}")
    for name, found in report["sweep"].items():
        lines.append(
            f"{name}: {found['removed']:,} expired of {found['stored']:,} removed in "
            f"{found['seconds']:.1f} s; a read meanwhile: p50 {found['during']['p50 µs']:.0f} µs "
            f"(before: {found['before']['p50 µs']:.0f}), p99 {found['during']['p99 µs']:.0f} µs "
            f"({found['before']['p99 µs']:.0f})"
        )
    if report["evicted"] is not None:
        lines.append(
            f"{CACHELIB_500.name}: {report['evicted']['gone']} of 1,000 live sessions gone"
        )
    return lines
