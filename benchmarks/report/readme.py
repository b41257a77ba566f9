"""The README's section on performance: made from the kept results, never by hand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGIN = "<!-- performance: made by benchmarks/run.py --readme -->"
END = "<!-- end of performance -->"
STORES = {"files": "file", "Redis": "redis", "SQLite": "sqlite", "PostgreSQL": "postgresql"}
PATHS = ("/null", "/read", "/write")


def insert(results: Mapping[str, Any]) -> None:
    """Put the section into README.md, between its markers."""
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    pattern = re.compile(rf"(?<={re.escape(BEGIN)}\n)[\s\S]*(?={re.escape(END)})")
    readme.write_text(pattern.sub(lambda _: section(results), text), "utf-8")


def section(results: Mapping[str, Any]) -> str:
    """The text between the markers; ends with a newline."""
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
        "[benchmarks](benchmarks/README.md), where the spreads, the versions, the peers and their "
        "configurations are. At a million sessions and beyond: "
        "[capacity](benchmarks/CAPACITY.md)."
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
    lines += ["", *(f"![{alt}](benchmarks/pictures/cost-{name}.svg)" for name, alt in _PICTURES)]
    return "\n".join(lines)


_PICTURES = (
    ("files", "What a session costs on files"),
    ("redis", "What a session costs on Redis"),
)


def _median(row: Mapping[str, Any], path: str) -> str:
    return _number(row[path]["net"]["median"])


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _fastest(report: Mapping[str, Any], store: str, path: str) -> str:
    found = {
        name: row[path]["net"]["median"]
        for name, row in report["microseconds"].items()
        if row["store"] == store and not name.startswith(("wsgi_sessions,", "floor,"))
    }
    if not found:
        return "none"
    name = min(found, key=lambda one: found[one])
    return f"{_number(found[name])} ({name.partition(',')[0]})"


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
    mine, others = 0, []
    for name, row in report["contestants"].items():
        sent = sum(row[path]["sent"] for path in ("/key", "/append", "/increment"))
        lost = sum(row[path]["lost"] for path in ("/key", "/append", "/increment"))
        if name.startswith("wsgi_sessions,"):
            mine += lost
        else:
            others.append(100 * lost / sent)
    return (
        f"Of changes by {report['burst']} overlapping requests, {mine} were lost here, "
        f"{min(others):.0f} to {max(others):.0f} % by the {len(others)} peers."
    )


def _growth(report: Mapping[str, Any]) -> str:
    cells = []
    for title in ("files", "Redis"):
        row = report["sessions"].get(f"wsgi_sessions, {title}")
        if row is not None:
            count = max(row, key=int)
            ratio = row[count]["/read"]["x 100 at p50"]["median"]
            cells.append(f"{ratio:.2f} x on {title} at {int(count):,}")
    return f"A read, compared with a store of 100 sessions (median): {', '.join(cells)}."
