"""From measured bytes and operations to what a million, 10^8 and 10^9 live sessions need.

Whatever is not measured is an assumption, or modelled from both; `capacity_text` says which is
which. `simulation` checks the formula for the population.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.report.quantities import DAY, GIB, in_bytes, in_time, three
from benchmarks.report.simulation import Sweeping, Traffic, simulate

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS = (10**6, 10**8, 10**9)


class Assumptions(NamedTuple):
    """What is not measured here. Times in seconds, rates per second."""

    requests: float = 20  # of a session
    pause: float = 30  # between two of them
    idle_lifetime: float = DAY
    peak: float = 4  # busiest hour over the mean
    written: float = 0.2  # of the requests
    sweep_interval: float = 600
    redis_commands: float = 100_000  # of one Redis process
    redis_memory: float = 24 * GIB  # of one Redis process, so that it can be copied and replaced
    redis_spare: float = 0.5  # kept free: copy-on-write, failover
    copies: int = 2  # a primary and one replica
    postgresql_bloat: float = 2.0  # dead rows between two vacuums
    postgresql_writes: float = 20_000  # short transactions of one server, group commit
    wal: float = 3.0  # bytes of log per byte of row: the row, index entries, full pages
    network: float = 1e9 / 8  # bytes per second for a copy between two machines
    detection: float = 30.0  # until Sentinel or the cluster takes a node for dead
    lag: float = 0.01  # of a replica


ASSUMED = Assumptions()


class Measured(NamedTuple):
    """Of one of our stores. Times are in µs; None where it does not apply."""

    bytes_each: float
    scan: float  # of a sweep, per live record; 0 where there is none to do
    removal: float  # of a sweep, per expired record
    cpu: float | None  # of a worker, per reading request
    read: float  # in process


class Need(NamedTuple):
    """What a store needs for so many sessions: cells of one row."""

    space: str
    machines: str
    load: str
    expiry: str
    failover: str


def measured(results: Mapping[str, Any], title: str) -> Measured | None:
    """The measured points of one of our stores, or None if it took no part."""
    name = f"wsgi_sessions, {title}"
    stored = results["growth"]["sessions"].get(name)
    if stored is None:
        return None
    largest = stored[max(stored, key=int)]
    sweep = results["growth"]["sweep"].get(name)
    row = results.get("gunicorn_sync", {}).get("contestants", {}).get(name)
    return Measured(
        bytes_each=largest["bytes per session"],
        scan=0.0 if sweep is None else sweep["µs per live"],
        removal=0.0 if sweep is None else sweep["µs per removed"],
        cpu=None if row is None else row["/read 1000"]["µs of CPU"]["median"],
        read=largest["/read"]["p50 µs"],
    )


def traffic(live: float, assumed: Assumptions = ASSUMED) -> Traffic:
    """The traffic that keeps so many sessions alive, by Little's law."""
    in_use = (assumed.requests - 1) * assumed.pause
    arrivals = live / (in_use + assumed.idle_lifetime)
    return Traffic(arrivals, assumed.requests, assumed.pause, assumed.idle_lifetime)


def stored(live: float, assumed: Assumptions = ASSUMED) -> float:
    """Sessions in a store that is swept: the live ones, and what expired since the last sweep."""
    return live + traffic(live, assumed).arrivals * assumed.sweep_interval / 2


def files(live: int, point: Measured) -> Need:
    """Files on one machine."""
    records = stored(live)
    space = records * (point.bytes_each + 256)  # ext4's inode is not in its blocks
    sweep = sweep_seconds(live, point)
    share = sweep / ASSUMED.sweep_interval
    return Need(
        space=f"{in_bytes(space)} of disk, {three(records / 1e6)} million inodes",
        machines="1" if share < 1 else "more than 1: not for this store",
        load=f"{records / 256:,.0f} names in each of 256 folders",
        expiry=f"a sweep takes {in_time(sweep)}, {three(100 * share)} % of the time",
        failover=f"none; a copy takes {in_time(space / ASSUMED.network)} or more",
    )


def redis_replicas(live: int, point: Measured) -> Need:
    """One Redis with a replica, watched by Sentinel."""
    memory = live * point.bytes_each
    commands = commands_per_second(live)
    whole = memory / (1 - ASSUMED.redis_spare)
    fits = memory <= ASSUMED.redis_memory and commands <= ASSUMED.redis_commands * 0.5
    return Need(
        space=f"{in_bytes(memory)} used, {in_bytes(whole)} of memory in each of {ASSUMED.copies}",
        machines=f"{ASSUMED.copies}" if fits else "too much for one: see Cluster",
        load=f"{commands:,.0f} commands/s at peak, {in_bytes(_network(live, point))}/s",
        expiry="by Redis itself",
        failover=_failover(live, memory),
    )


def redis_cluster(live: int, point: Measured) -> Need:
    """Redis Cluster, a replica for each shard."""
    memory, commands = live * point.bytes_each, commands_per_second(live)
    by_memory = memory / ASSUMED.redis_memory
    by_commands = commands / (ASSUMED.redis_commands * 0.5)
    shards = max(3, math.ceil(max(by_memory, by_commands)))
    why = "memory" if by_memory > by_commands else "commands"
    per_shard = memory / shards
    return Need(
        space=f"{in_bytes(memory)} used, {in_bytes(per_shard)} in each shard",
        machines=f"{shards} shards, {shards * ASSUMED.copies} nodes ({why} decide)",
        load=f"{commands:,.0f} commands/s at peak, {in_bytes(_network(live, point))}/s",
        expiry="by Redis itself",
        failover=f"of one shard: {_failover(live / shards, per_shard)}",
    )


def postgresql(live: int, point: Measured) -> Need:
    """One PostgreSQL with a standby."""
    records = stored(live)
    space = records * point.bytes_each * ASSUMED.postgresql_bloat
    writes = writes_per_second(live)
    fits = writes <= ASSUMED.postgresql_writes
    log = writes * point.bytes_each * ASSUMED.wal
    sweep = sweep_seconds(live, point)
    return Need(
        space=f"{in_bytes(space)} of disk, dead rows included",
        machines=f"{ASSUMED.copies}" if fits else "too many writes for one: partition, or Redis",
        load=f"{writes:,.0f} writes/s at peak, {in_bytes(log)}/s of log",
        expiry=f"a sweep deletes for {in_time(sweep)} every {in_time(ASSUMED.sweep_interval)}",
        failover=f"promotion; a new standby copies for {in_time(space / ASSUMED.network)}",
    )


STORES = {
    "Files, one machine": ("files", files),
    "Redis with a replica": ("Redis", redis_replicas),
    "Redis Cluster": ("Redis", redis_cluster),
    "PostgreSQL": ("PostgreSQL", postgresql),
}


def sweep_seconds(live: float, point: Measured) -> float:
    """Of one sweep, by one worker."""
    expired = traffic(live).arrivals * ASSUMED.sweep_interval
    return (live * point.scan + expired * point.removal) / 1e6


def writes_per_second(live: float) -> float:
    """At peak: changes, new sessions, and touches (one per 5 % of the idle lifetime in use)."""
    flow = traffic(live)
    touches = flow.arrivals * math.ceil(flow.in_use / (0.05 * ASSUMED.idle_lifetime))
    each = flow.requests_per_second * ASSUMED.written + flow.arrivals + touches
    return ASSUMED.peak * each


def commands_per_second(live: float) -> float:
    """At peak: a read for each request, and the writes."""
    return ASSUMED.peak * traffic(live).requests_per_second + writes_per_second(live)


def _network(live: float, point: Measured) -> float:
    """Bytes per second at peak between workers and Redis, and to the replica."""
    return (commands_per_second(live) + writes_per_second(live)) * (point.bytes_each + 150)


def _failover(live: float, memory: float) -> str:
    lost = writes_per_second(live) * ASSUMED.lag
    copy = in_time(memory / ASSUMED.network)
    return (
        f"503 for {ASSUMED.detection:.0f} s, some {math.ceil(lost):,} latest writes lost; a new "
        f"replica copies for {copy}"
    )


# -- the simulation, beside the formula ------------------------------------------------------------


class Check(NamedTuple):
    """A population by formula, and simulated."""

    live: float
    by_formula: float
    simulated: float
    most: int

    @property
    def error(self) -> float:
        """Of the formula, relative."""
        return self.by_formula / self.simulated - 1


def check(live: int, removal: float, seed: int = 1) -> Check:
    """Simulate a store that is swept at intervals, at the measured speed (µs per removal)."""
    flow = traffic(live)
    sweeping = Sweeping(ASSUMED.sweep_interval, 1e6 / removal)
    outcome = simulate(flow, sweeping, seconds=DAY, seed=seed)
    return Check(live, stored(live), outcome.stored, outcome.most_stored)
