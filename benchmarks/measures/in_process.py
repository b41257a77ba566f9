"""Measure 1: what a session costs a request in process, without, with reading and with writing it.

Each contestant has a process of its own (`child`), and all take turns in rounds. A peer inside of a
framework is shown less the same framework without sessions, all others less bare WSGI; floors are
shown as they are. Contestants and servers share a processor. System calls are counted by strace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import BARE, BY_NAME, Contestant, present
from benchmarks.harness.child import start_all
from benchmarks.harness.machine import awake, kept_on, processors
from benchmarks.harness.rounds import less, measure, over, progress, spread
from benchmarks.harness.targets import Verdict, at_least, at_most
from benchmarks.measures.syscalls import count_calls

if TYPE_CHECKING:
    from benchmarks.harness.places import Place

PATHS = ("/null", "/read", "/write")
VISITORS = 200
Figures = Mapping[str, Mapping[str, list[float]]]  # contestant, path: microseconds by round


def run(place: Place, rounds: int, seconds: float) -> dict[str, Any]:
    """All of it, as JSON."""
    taking_part, left_out = present(place)
    with ExitStack() as stack:
        children = start_all([one.name for one in taking_part], place)
        for child in children.values():
            stack.callback(child.close)
        for one in taking_part:
            progress(f"starting {one.name}")
            child = stack.enter_context(children[one.name])
            if one.kind in ("ours", "peer"):
                child.log_in(VISITORS)
        timers = {
            f"{one.name} {path}": children[one.name].timer(path)
            for one in taking_part
            for path in paths_of(one)
        }
        pids = [child.pid for child in children.values()]
        with awake(), kept_on(processors()[:1], [*pids, *place.server_pids()]):
            raw = measure(timers, rounds, seconds)
        counts = {
            one.name: count_calls(children[one.name], paths_of(one))
            for one in taking_part
            if one.kind != "bare"
        }
    figures = by_contestant(raw)
    return {
        "microseconds": as_rows(figures),
        "calls": counts,
        "targets": [verdict.as_json() for verdict in judge(figures)],
        "left out": left_out,
    }


def paths_of(one: Contestant) -> Sequence[str]:
    """What is measured of a contestant."""
    return {"bare": PATHS[:1], "floor": PATHS[1:]}.get(one.kind, PATHS)


def by_contestant(raw: Mapping[str, list[float]]) -> Figures:
    """The figures of timers that are called after a contestant and a path."""
    figures: dict[str, dict[str, list[float]]] = {}
    for key, values in raw.items():
        name, _, path = key.rpartition(" ")
        figures.setdefault(name, {})[path] = values
    return figures


def as_rows(figures: Figures) -> dict[str, dict[str, Any]]:
    """The spreads: `net` is less the bare framework, `gross` as measured."""
    rows: dict[str, dict[str, Any]] = {}
    for name, by_path in figures.items():
        rows[name] = {"bare": BY_NAME[name].bare, "store": BY_NAME[name].store}
        for path, values in by_path.items():
            rows[name][path] = {
                "net": spread(net(figures, name, path))._asdict(),
                "gross": spread(values)._asdict(),
            }
    return rows


def net(figures: Figures, name: str, path: str) -> list[float]:
    """What the session adds, round by round; a floor and bare WSGI as they are."""
    one = BY_NAME[name]
    if one.kind in ("bare", "floor"):
        return figures[name][path]
    return less(figures[name][path], figures[one.bare]["/null"])


def judge(figures: Figures) -> list[Verdict]:
    """The claims about cost per request, of those stores that took part."""
    verdicts = []
    if (name := "wsgi_sessions, files") in figures:
        null = spread(net(figures, name, "/null"))
        verdicts.append(at_most("no use of the session, over bare WSGI", null, 3.0, "µs"))
        verdicts += _against(figures, name, "/read", at_most, 2.5, 1.0)
        verdicts += _against(figures, name, "/write", at_most, 0.2, 15.0)
    if (name := "wsgi_sessions, Redis") in figures:
        verdicts += _against(figures, name, "/read", at_most, 1.0, 3.0)
        verdicts += _against(figures, name, "/write", at_most, 1.0, 1.8)
    return verdicts


def _against(
    figures: Figures, name: str, path: str, bound: Any, limit: float, ahead: float
) -> list[Verdict]:
    """Against the floor of the same store, and against the fastest peer on it."""
    store = BY_NAME[name].store
    floor = next(f for f in figures if BY_NAME[f].kind == "floor" and BY_NAME[f].store == store)
    mine = net(figures, name, path)
    title = f"{name.partition(', ')[2]}, {path[1:]}"
    unit = FLOORS[floor][path]
    verdicts = [bound(title, spread(over(mine, figures[floor][path])), limit, f"x {unit}")]
    peers = [p for p in figures if BY_NAME[p].kind == "peer" and BY_NAME[p].store == store]
    if peers:
        ratios = {peer: spread(over(net(figures, peer, path), mine)) for peer in peers}
        fastest = min(ratios, key=lambda peer: ratios[peer].median)
        claim = f"{title}: the fastest peer ({fastest})"
        verdicts.append(at_least(claim, ratios[fastest], ahead, "x ours"))
    return verdicts


FLOORS = {
    "floor, files": {
        "/read": "open, read, close",
        "/write": "read, write temporary, replace",
    },
    "floor, Redis": {"/read": "redis-py GETEX", "/write": "redis-py GET and SET"},
    "floor, Redis by raw socket": {"/read": "raw socket GET", "/write": "raw socket GET and SET"},
    "floor, SQLite": {"/read": "SELECT", "/write": "BEGIN IMMEDIATE, SELECT, UPDATE, COMMIT"},
    "floor, PostgreSQL": {"/read": "SELECT", "/write": "BEGIN, SELECT, UPDATE, COMMIT"},
}


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    title = "system calls (of them sent to a server) per request"
    lines = [*table(report["microseconds"]), "", f"{title:54}" + "".join(f"{p:>13}" for p in PATHS)]
    for name, row in report["calls"].items():
        cells = "".join(f"{_counts(row.get(path)):>13}" for path in PATHS)
        lines.append(f"{name:54}{cells}")
    return lines


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The microseconds for people."""
    title = "µs per request (median), less the bare framework"
    lines = [f"{title:54}" + "".join(f"{path:>11}" for path in PATHS)]
    for name, row in rows.items():
        cells = "".join(
            f"{row[path]['net']['median']:11.1f}" if path in row else f"{'':11}" for path in PATHS
        )
        note = "" if row["bare"] in (BARE, name) else f"   less {row['bare']}"
        lines.append(f"{name:54}{cells}{note}")
    return lines


def _counts(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    sent = f" ({row['sent']:.0f})" if row["sent"] >= 0.5 else ""
    return f"{row['total']:.1f}{sent}"
