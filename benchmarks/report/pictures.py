"""Which pictures are drawn from the results; each is one file, named after its function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import BY_NAME, CONTESTANTS, TITLES, Store
from benchmarks.measures.growth import FEW
from benchmarks.measures.lost import OVERLAPS, share
from benchmarks.report.svg import Axis, Bar, Line, Row, bars, decades, lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READ_WRITE = (("/read", 0), ("/write", 1))
STORES: tuple[tuple[str, tuple[Store, ...]], ...] = (
    ("files", ("file",)),
    ("redis", ("redis",)),
    ("sql", ("sqlite", "postgresql")),
)


def draw_all(results: Mapping[str, Any]) -> dict[str, str]:
    """The pictures that these results allow, by file name."""
    found: dict[str, str] = {}
    for name, stores in STORES:
        if "in_process" in results:
            found[f"cost-{name}.svg"] = cost(results["in_process"], stores)
        if "gunicorn_sync" in results:
            found[f"throughput-{name}.svg"] = throughput(results["gunicorn_sync"], stores)
    if "lost" in results:
        found["lost.svg"] = lost(results["lost"])
    if "growth" in results:
        found["growth.svg"] = growth(results["growth"])
        found["sizes.svg"] = sizes(results["growth"])
    if "contention" in results:
        found["contention.svg"] = contention(results["contention"])
    return found


def write_all(results: Mapping[str, Any], folder: str) -> list[str]:
    """Write them; their paths."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for name, text in draw_all(results).items():
        paths.append(os.path.join(folder, name))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(text)
    return paths


def cost(report: Mapping[str, Any], stores: Sequence[Store]) -> str:
    """Microseconds per request that reads or writes its session."""
    rows = []
    for name in _on(stores, report["microseconds"]):
        found = report["microseconds"][name]
        medians = [(found[path]["net"]["median"], series) for path, series in READ_WRITE]
        rows.append(Row(name, [Bar(value, f"{value:,.0f} µs", s) for value, s in medians]))
    titles = " and ".join(TITLES[store] for store in stores)
    note = "Median over rounds, one process, less the bare framework. Less is better."
    return bars(f"What a session costs, {titles}", note, rows, ("read", "write"))


def throughput(report: Mapping[str, Any], stores: Sequence[Store]) -> str:
    """Requests per second under gunicorn."""
    rows = []
    for name in _on(stores, report["contestants"]):
        found = report["contestants"][name]
        values = [
            (found[f"{path} 1000"]["per second"]["median"], series) for path, series in READ_WRITE
        ]
        rows.append(Row(name, [Bar(value, f"{value:,.0f} /s", s) for value, s in values]))
    titles = " and ".join(TITLES[store] for store in stores)
    note = (
        f"{report['workers']} {report['worker class']} workers, {report['at once']} requests at "
        "once, 1,000 sessions; each in its own framework. More is better."
    )
    return bars(f"Requests per second, {titles}", note, rows, ("read", "write"))


def lost(report: Mapping[str, Any]) -> str:
    """The share of overlapping changes that got lost."""
    rows = []
    for name, found in report["contestants"].items():
        total = {
            "sent": sum(found[path]["sent"] for path in OVERLAPS),
            "lost": sum(found[path]["lost"] for path in OVERLAPS),
        }
        part = share(total)
        kind = 0 if BY_NAME[name].kind == "ours" else 4
        rows.append(Row(name, [Bar(part, f"{part:.0f} %", kind)]))
    note = (
        f"Of changes by {report['burst']} overlapping requests of one session: different keys, "
        "one list, one counter; 3 gthread workers."
    )
    return bars("Changes lost", note, rows, (), most=100)


def growth(report: Mapping[str, Any]) -> str:
    """The latency of reading, by the number of stored sessions."""
    found = []
    for series, (name, row) in enumerate(_ours(report["sessions"]).items()):
        first = next(iter(row.values()))["/read"]
        points = [(float(FEW), first[f"p50 µs of {FEW}"])]
        points += [(float(count), one["/read"]["p50 µs"]) for count, one in row.items()]
        high = [(float(count), one["/read"]["p99 µs"]) for count, one in row.items()]
        title = name.partition(", ")[2]
        found += [Line(f"{title}, p50", points, series), Line(f"{title}, p99", high, series + 2)]
        if series == 1:
            break
    counts = [x for line in found for x, _ in line.points]
    values = [y for line in found for _, y in line.points]
    note = "Reading a session chosen at random, in process, this package."
    return lines(
        "A read as sessions accumulate",
        note,
        found,
        Axis("stored sessions", decades(counts)),
        Axis("µs", decades(values)),
    )


def sizes(report: Mapping[str, Any]) -> str:
    """Reading and writing, by the size of the session."""
    rows = []
    for name, found in report["sizes"].items():
        for size, row in found.items():
            values = [(row[path]["median"], series) for path, series in READ_WRITE]
            label = f"{name}: {int(size):,} bytes"
            rows.append(Row(label, [Bar(value, f"{value:,.0f} µs", s) for value, s in values]))
    note = "Median over rounds, one process, bare framework included. Less is better."
    return bars("What the size of a session costs", note, rows, ("read", "write"))


def contention(report: Mapping[str, Any]) -> str:
    """Changes per second that were kept, by the number of writers on one session."""
    found = []
    for series, (name, row) in enumerate(report["contestants"].items()):
        seconds = report["seconds"]
        points = [(float(level), max(1.0, one["kept"] / seconds)) for level, one in row.items()]
        found.append(Line(name, points, series % 6))
    counts = [x for line in found for x, _ in line.points]
    values = [y for line in found for _, y in line.points]
    note = "Changes per second that are still there afterwards: all of ours, not all of the others."
    return lines(
        "Many writers, one session",
        note,
        found,
        Axis("processes that write at once", _powers_of_two(counts)),
        Axis("changes kept per second", decades(values)),
    )


def _powers_of_two(values: Sequence[float]) -> list[float]:
    ticks = [1.0]
    while ticks[-1] < max(values):
        ticks.append(ticks[-1] * 2)
    return ticks if len(ticks) > 1 else [1.0, 2.0]


def _on(stores: Sequence[Store], rows: Mapping[str, Any]) -> list[str]:
    """Who is on these stores, in the order of the table."""
    return [one.name for one in CONTESTANTS if one.store in stores and one.name in rows]


def _ours(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row for name, row in rows.items() if BY_NAME[name].kind == "ours"}
