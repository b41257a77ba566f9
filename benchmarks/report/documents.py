"""Sections of the documents, made from the kept results, never by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import ROOT
from benchmarks.report.frameworks import frameworks
from benchmarks.report.quantities import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STORES = {"files": "file", "Redis": "redis", "SQLite": "sqlite", "PostgreSQL": "postgresql"}
PATHS = ("/null", "/read", "/write")
OURS = "wsgi_sessions,"


class Section(NamedTuple):
    """A part of a document, between two markers."""

    document: str
    begin: str
    end: str
    make: Callable[[Mapping[str, Any]], str]

    def kept(self) -> str:
        """Return what the document has between the markers."""
        return self._pattern().search(self._text())[0]  # type: ignore[index]

    def insert(self, results: Mapping[str, Any]) -> None:
        """Put there what the results say."""
        made = self._pattern().sub(lambda _: self.make(results), self._text())
        (ROOT / self.document).write_text(made, "utf-8")

    def _text(self) -> str:
        return (ROOT / self.document).read_text("utf-8")

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<={re.escape(self.begin)}\n)[\s\S]*(?={re.escape(self.end)})")


def performance(results: Mapping[str, Any]) -> str:
    """Return the costs of a session, here and with the peers."""
    parts = []
    if "in_process" in results:
        parts.append(_cost(results["in_process"]))
    if "gunicorn_sync" in results:
        parts.append(_throughput(results["gunicorn_sync"]))
    if "lost" in results:
        parts.append(_lost(results["lost"]))
    if "growth" in results:
        parts.append(_growth(results["growth"]))
    if not parts:
        return "\nNo results are kept: `python -m benchmarks.run` measures here.\n\n"
    facts = results["machine"]
    parts.append(
        f"Python {facts['python']}, Linux {facts['kernel'].partition('-')[0]}, "
        f"{facts['processors']} processors, {facts['file system']}; "
        "what is compared was measured in turn, in one run, by "
        "`benchmarks/`, where the spreads, the versions, the peers and their configurations are "
        "(see `benchmarks/README.md`). At a million sessions and beyond: [capacity](capacity.md)."
    )
    return "\n" + "\n\n".join(parts) + "\n\n"


def _cost(report: Mapping[str, Any]) -> str:
    rows = report["microseconds"]
    head = (
        "Microseconds that a session adds to a request (median), and the fastest of the peers; "
        "client and server have one processor:"
    )
    lines = [
        head,
        "",
        "| store | not used | read | written | fastest peer: read | written |",
        "|---|---|---|---|---|---|",
    ]
    for title, store in STORES.items():
        mine = rows.get(f"wsgi_sessions, {title}")
        if mine is not None:
            cells = [_median(mine, path) for path in PATHS]
            cells += [_fastest(report, store, path) for path in PATHS[1:]]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        *(f"![{alt}](../../benchmarks/pictures/cost-{name}.svg)" for name, alt in _PICTURES),
    ]
    return "\n".join(lines)


_PICTURES = (
    ("files", "What a session costs on files"),
    ("redis", "What a session costs on Redis"),
)


def _median(row: Mapping[str, Any], path: str) -> str:
    return number(row[path]["net"]["median"])


def _fastest(report: Mapping[str, Any], store: str, path: str) -> str:
    found = {
        name: row[path]["net"]["median"]
        for name, row in report["microseconds"].items()
        if row["store"] == store and not name.startswith(("wsgi_sessions,", "floor,"))
    }
    if not found:
        return "none"
    name = min(found, key=lambda one: found[one])
    return f"{number(found[name])} ({name.partition(',')[0]})"


def _throughput(report: Mapping[str, Any]) -> str:
    rows = report["contestants"]
    cells = []
    for title in STORES:
        mine = rows.get(f"wsgi_sessions, {title}")
        if mine is not None:
            rates = [mine[f"{path} 1000"]["per second"]["median"] for path in PATHS[1:]]
            cells.append(f"{title}: {rates[0]:,.0f} read, {rates[1]:,.0f} written")
    bare = rows["bare WSGI"]["/null 1"]["per second"]["median"]
    return (
        f"Requests per second under gunicorn ({report['workers']} {report['worker class']} "
        "workers, 1,000 sessions; one processor is the client's and the servers'): "
        f"{'; '.join(cells)}; without a session {bare:,.0f}."
    )


def _lost(report: Mapping[str, Any]) -> str:
    mine, others = _shares_lost(report)
    return (
        f"Of changes by {report['burst']} overlapping requests, {sum(mine):.0f} were lost here, "
        f"{min(others):.0f} to {max(others):.0f} % by the {len(others)} peers."
    )


def _shares_lost(report: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return the percentage of changes that each contestant lost: ours, and the peers'."""
    shares: tuple[list[float], list[float]] = ([], [])
    for name, row in report["contestants"].items():
        sent = sum(row[path]["sent"] for path in ("/key", "/append", "/increment"))
        lost = sum(row[path]["lost"] for path in ("/key", "/append", "/increment"))
        shares[not name.startswith(OURS)].append(100 * lost / sent)
    return shares


def _growth(report: Mapping[str, Any]) -> str:
    cells = []
    for title in ("files", "Redis"):
        row = report["sessions"].get(f"wsgi_sessions, {title}")
        if row is not None:
            count = max(row, key=int)
            ratio = row[count]["/read"]["x 100 at p50"]["median"]
            cells.append(f"{ratio:.2f} x on {title} at {int(count):,}")
    return f"A read, compared with a store of 100 sessions (median): {', '.join(cells)}."


def peers(results: Mapping[str, Any]) -> str:
    """Return the table of what happens to a session, here and with the peers."""
    if not {"lost", "faults"} <= results.keys():
        return "\nNo results are kept: `python -m benchmarks.run` measures here.\n\n"
    lost, faults = results["lost"], results["faults"]
    mine, others = _shares_lost(lost)
    among = f"{min(others):.0f} to {max(others):.0f} % are lost"
    rows = [
        (
            f"{lost['burst']} overlapping requests change one session",
            f"{sum(mine):.0f} changes are lost",
            among,
        ),
        ("a log-out, and a save that comes late", *_brought_back(lost)),
        (
            'a network file system answers "stale handle" once',
            *_seen(faults, "a stale file handle (ESTALE), once"),
        ),
        ("Redis hangs", *_seen(faults, "Redis hangs")),
    ]
    lines = [f"| what happens | wsgi_sessions | the {len(others)} peers |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n" + "\n".join(lines) + "\n\n"


def _brought_back(report: Mapping[str, Any]) -> Iterator[str]:
    for ours in (True, False):
        back = [
            row["log-out"]["brought back"] > 0
            for name, row in report["contestants"].items()
            if name.startswith(OURS) is ours
        ]
        yield f"brought back by {sum(back)} of {len(back)}" if any(back) else "stays logged out"


def _seen(faults: Mapping[str, Any], fault: str) -> Iterator[str]:
    """Yield what a client saw: here, and with the peers that use such a store."""
    for ours in (True, False):
        seen = [row["seen"] for name, row in faults[fault].items() if name.startswith(OURS) is ours]
        count = "" if ours else f" (all {len(seen)} of that kind)"
        yield "; ".join(sorted(set(seen))) + (count if len(set(seen)) == 1 else "")


SECTIONS = (
    Section(
        "README.md",
        "<!-- peers: made by benchmarks/run.py --documents -->",
        "<!-- end of peers -->",
        peers,
    ),
    Section(
        "docs/explanation/performance.md",
        "<!-- performance: made by benchmarks/run.py --documents -->",
        "<!-- end of performance -->",
        performance,
    ),
    Section(
        "docs/explanation/performance.md",
        "<!-- frameworks: made by benchmarks/run.py --documents -->",
        "<!-- end of frameworks -->",
        frameworks,
    ),
)


def insert(results: Mapping[str, Any]) -> None:
    """Put every section into its document."""
    for section in SECTIONS:
        section.insert(results)
