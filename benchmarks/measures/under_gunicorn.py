"""Measure 2: requests per second, latency and CPU under gunicorn with three workers.

All servers run at once and are asked in turn, in rounds. Floors are applications that make the
store's calls and nothing else. The last processor is the client's and the stores', the others are
the workers'.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.contestants.table import BY_NAME, Contestant, present
from benchmarks.harness.load import Load, put_load, request_bytes
from benchmarks.harness.machine import awake, kept_on, processors
from benchmarks.harness.rounds import over, percentile, progress, spread
from benchmarks.harness.servers import WORKERS, Server, start_servers
from benchmarks.harness.targets import Verdict, at_least

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gunicorn_server import WorkerClass

    from benchmarks.harness.places import Place

PATHS = ("/null", "/read", "/write")
AT_ONCE = 2 * WORKERS
SESSIONS = 1000


class Case(NamedTuple):
    """One thing to ask of one server."""

    name: str
    path: str
    sessions: int

    @property
    def key(self) -> str:
        return f"{self.path} {self.sessions}"


class Figures:
    """What the rounds brought for one case."""

    def __init__(self) -> None:
        self.per_second: list[float] = []
        self.cpu: list[float] = []
        self.latencies: list[float] = []
        self.failures = 0

    def add(self, load: Load, cpu_seconds: float) -> None:
        """One round."""
        self.per_second.append(load.per_second)
        self.cpu.append(cpu_seconds / len(load.latencies) * 1e6)
        self.latencies += load.latencies
        self.failures += load.failures

    def as_json(self) -> dict[str, Any]:
        return {
            "per second": spread(self.per_second)._asdict(),
            "p50 ms": percentile(self.latencies, 0.5) * 1000,
            "p99 ms": percentile(self.latencies, 0.99) * 1000,
            "µs of CPU": spread(self.cpu)._asdict(),
            "requests": len(self.latencies),
            "failures": self.failures,
        }


def run(
    place: Place, worker_class: WorkerClass, names: Iterable[str], rounds: int, seconds: float
) -> dict[str, Any]:
    """All of it, as JSON, for these contestants."""
    taking_part = [one for one in present(place)[0] if one.name in set(names)]
    with ExitStack() as stack:
        servers = start_servers(stack, taking_part, place, worker_class)
        # All with one page after each other: what is compared is measured within seconds.
        cases = sorted(
            (case for one in taking_part for case in cases_of(one)),
            key=lambda case: (case.path, case.sessions),
        )
        for number, server in enumerate(servers.values()):
            progress(f"{worker_class}: sessions for {number + 1} of {len(servers)} servers")
            if server.contestant.kind != "bare":
                server.log_in(SESSIONS)
        figures = {case: Figures() for case in cases}
        stack.enter_context(awake())
        workers = [pid for server in servers.values() for pid in server.pids()]
        last = processors()[-1:]
        stack.enter_context(kept_on(processors()[:-1] or last, workers))
        stack.enter_context(kept_on(last, [os.getpid(), *place.server_pids()]))
        for number in range(rounds):
            for case in cases:
                if number > 0 and _is_asked_once(case):
                    continue
                progress(f"{worker_class}: round {number + 1} of {rounds}: {case.name} {case.path}")
                _ask(servers[case.name], case, figures[case], seconds)
        progress("")
    rows: dict[str, dict[str, Any]] = {one.name: {} for one in taking_part}
    for case, found in figures.items():
        rows[case.name][case.key] = found.as_json()
    verdicts = judge(figures) if worker_class == "sync" else []
    return {
        "workers": WORKERS,
        "worker class": worker_class,
        "at once": AT_ONCE,
        "contestants": rows,
        "targets": [verdict.as_json() for verdict in verdicts],
    }


def cases_of(one: Contestant) -> list[Case]:
    """What is asked of a contestant's server."""
    if one.kind == "bare":
        return [Case(one.name, "/null", 1)]
    return [Case(one.name, p, SESSIONS) for p in PATHS] + [
        Case(one.name, p, 1) for p in PATHS[1:] if one.kind != "floor"
    ]


def _is_asked_once(case: Case) -> bool:
    """Peers with one session: told for completeness, and no claim is made with it."""
    return case.sessions == 1 and BY_NAME[case.name].kind == "peer"


def _ask(server: Server, case: Case, figures: Figures, seconds: float) -> None:
    cookies: list[str | None] = [*server.cookies[: case.sessions]] or [None]
    requests = [request_bytes(case.path, cookie) for cookie in cookies]
    before = server.cpu_seconds()
    load = put_load(server.port, requests, seconds=seconds, at_once=AT_ONCE)
    figures.add(load, server.cpu_seconds() - before)


def judge(figures: Mapping[Case, Figures]) -> list[Verdict]:
    """The claims about requests per second, of those stores that took part."""
    verdicts = []
    for store, write_limit in (("file", 2.0), ("redis", 0.95)):
        floor = {"file": "floor, files", "redis": "floor, Redis"}[store]
        ours = {"file": "wsgi_sessions, files", "redis": "wsgi_sessions, Redis"}[store]
        for path, limit in (("/read", 0.95), ("/write", write_limit)):
            mine = figures.get(Case(ours, path, SESSIONS))
            its = figures.get(Case(floor, path, SESSIONS))
            if mine is not None and its is not None:
                ratio = spread(over(mine.per_second, its.per_second))
                title = f"{ours.partition(', ')[2]}, {path[1:]}: requests/s, sync"
                verdicts.append(at_least(title, ratio, limit, "x the floor"))
    return verdicts


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    workers = f"{report['workers']} {report['worker class']} workers"
    head = f"{workers}, {report['at once']} requests at once"
    lines = [
        (
            f"{head:46}{'path':>8}{'sessions':>9}{'req/s':>8}{'of bare':>9}"
            f"{'p50 ms':>8}{'p99 ms':>8}{'CPU µs':>8}"
        )
    ]
    for name, row in report["contestants"].items():
        bare = report["contestants"].get(BY_NAME[name].bare, {}).get("/null 1")
        for key, found in row.items():
            path, _, sessions = key.partition(" ")
            rate = found["per second"]["median"]
            part = "" if bare is None else f"{rate / bare['per second']['median']:.2f}"
            failures = f"   {found['failures']} failures" if found["failures"] else ""
            lines.append(
                f"{name:46}{path:>8}{sessions:>9}{rate:8.0f}{part:>9}{found['p50 ms']:8.2f}"
                f"{found['p99 ms']:8.2f}{found['µs of CPU']['median']:8.0f}{failures}"
            )
    return lines
