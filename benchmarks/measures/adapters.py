"""Measure: what a session costs in each framework, here and by what the framework has of its own.

Each contestant has a process of its own, on one processor, and all take turns in rounds. Figures
are the processor's time of that process, so that they hold on a busy machine; the time of a server,
and of the way to it, is not in them. A figure is less the same framework without sessions, round by
round. What the adapter adds is that of this package in the framework less that of this package in
plain WSGI, on the same store.

Django's ``signed_cookies``, and the cookies of Flask and Pyramid, keep values in the browser: there
is no store to ask, nothing can be ended, and two requests overwrite each other. Those of Flask and
Pyramid are shown, and not judged.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import ADAPTERS, BY_NAME, TITLES, present
from benchmarks.harness.child import start_all
from benchmarks.harness.machine import kept_on, machine, processors
from benchmarks.harness.rounds import less, measure, over, progress, spread
from benchmarks.harness.targets import at_least, at_most
from benchmarks.measures.in_process import PATHS, VISITORS, as_rows, by_contestant, net, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.contestants.table import Contestant
    from benchmarks.harness.places import Place
    from benchmarks.harness.targets import Verdict
    from benchmarks.measures.in_process import Figures

ADDED = 10.0
"""Microseconds that an adapter may add to a session of plain WSGI."""


def run(place: Place, rounds: int, seconds: float) -> dict[str, Any]:
    """All of it, as JSON."""
    taking_part, left_out = present(place, ADAPTERS)
    with ExitStack() as stack:
        children = start_all([one.name for one in taking_part], place)
        for child in children.values():
            stack.callback(child.close)
        for one in taking_part:
            progress(f"starting {one.name}")
            stack.enter_context(children[one.name])
            if one.kind in ("ours", "peer"):
                children[one.name].log_in(VISITORS)
        timers = {
            f"{one.name} {path}": children[one.name].timer(path, "processor")
            for one in taking_part
            for path in (PATHS[:1] if one.kind == "bare" else PATHS)
        }
        pids = [child.pid for child in children.values()]
        with kept_on(processors()[:1], [*pids, *place.server_pids()]):
            raw = measure(timers, rounds, seconds)
    figures = by_contestant(raw)
    return {
        "machine": machine(place.folder),
        "microseconds": as_rows(figures),
        "added": added(figures),
        "targets": [verdict.as_json() for verdict in judge(figures)],
        "left out": left_out,
    }


def added(figures: Figures) -> dict[str, dict[str, Any]]:
    """What each adapter adds to plain WSGI on the same store, by path."""
    return {
        name: {path: spread(_added(figures, name, path))._asdict() for path in PATHS}
        for name in figures
        if is_adapter(BY_NAME[name])
    }


def is_adapter(one: Contestant) -> bool:
    """Tell this package in a framework from this package in plain WSGI, and from peers."""
    return one.kind == "ours" and one.bare != "bare WSGI"


def _added(figures: Figures, name: str, path: str) -> list[float]:
    plain = f"wsgi_sessions, {TITLES[BY_NAME[name].store]}"
    return less(net(figures, name, path), net(figures, plain, path))


def judge(figures: Figures) -> list[Verdict]:
    """The claims, of those that took part."""
    verdicts = []
    for name in filter(lambda name: is_adapter(BY_NAME[name]), figures):
        title = name.removeprefix("wsgi_sessions in ")
        for path in PATHS:
            found = spread(_added(figures, name, path))
            verdicts.append(at_most(f"{title}, {path[1:]}: added", found, ADDED, "µs"))
        for path in PATHS[1:]:
            peer = _fastest(figures, name, path)
            if peer is not None:
                ratio = spread(over(net(figures, peer, path), net(figures, name, path)))
                verdicts.append(at_least(f"{title}, {path[1:]}: {peer}", ratio, 1.0, "x ours"))
    return verdicts


def _fastest(figures: Figures, name: str, path: str) -> str | None:
    """The framework's own, or a library's for it, that is fastest on the same kind of store."""
    one = BY_NAME[name]
    peers = [
        peer
        for peer in figures
        if BY_NAME[peer].kind == "peer"
        and (BY_NAME[peer].bare, BY_NAME[peer].store) == (one.bare, one.store)
    ]
    return min(peers, key=lambda peer: spread(net(figures, peer, path)).median, default=None)


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = table(report["microseconds"])
    lines += ["", f"{'added by the adapter, µs (median)':54}" + _cells(PATHS)]
    for name, row in report["added"].items():
        lines.append(f"{name:54}" + _cells([f"{row[path]['median']:.1f}" for path in PATHS]))
    return lines


def _cells(values: Sequence[str]) -> str:
    return "".join(f"{value:>11}" for value in values)
