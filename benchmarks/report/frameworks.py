"""The section about the cost of a session in each framework, from the kept results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.report.quantities import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATHS = ("/null", "/read", "/write")
BARE = ("bare Flask", "bare Django", "bare Pyramid")
_HEAD = (
    "Microseconds of the processor that a session adds to a request in a framework (median), less "
    "the same framework without sessions. The last columns: what the adapter, and what the "
    "framework itself does for a session, add to this package in plain WSGI."
)


def frameworks(results: Mapping[str, Any]) -> str:
    """Return the costs of a session in each framework, beside the engines that it has itself."""
    if "adapters" not in results:
        return "\nNo results are kept: `python -m benchmarks.run` measures here.\n\n"
    report = results["adapters"]
    table = "\n".join(_table(report))
    parts = [_HEAD, table, _verdict(report["targets"]), _machine(report["machine"])]
    return "\n" + "\n\n".join(parts) + "\n\n"


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    yield "| | not used | read | written | added: not used | read | written |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in report["microseconds"].items():
        if row["bare"] in BARE and row["bare"] != name:
            cells = [number(row[path]["net"]["median"]) for path in PATHS]
            extra = report["added"].get(name)
            cells += [number(extra[path]["median"]) if extra else "" for path in PATHS]
            yield f"| {name} | {' | '.join(cells)} |"


def _verdict(targets: list[dict[str, Any]]) -> str:
    added = [row["met"] for row in targets if row["bound"] == "≤"]
    peers = [row["met"] for row in targets if row["bound"] == "≥"]
    slower = [row["claim"] for row in targets if row["bound"] == "≥" and not row["met"]]
    return (
        f"The target of at most 10 µs added is missed by {added.count(False)} of {len(added)} "
        f"figures. {peers.count(True)} of {len(peers)} comparisons with the fastest engine on the "
        f"same kind of store are won; lost: {'; '.join(slower) or 'none'}."
    )


def _machine(facts: Mapping[str, str]) -> str:
    return (
        f"Python {facts['python']}, Django {facts['Django']}, Flask {facts['Flask']}, Pyramid "
        f"{facts['pyramid']}, Linux {facts['kernel'].partition('-')[0]}, {facts['file system']}. "
        "All on one processor, which had other work too: so the processor's time of each process "
        "counts. The time of a server, and of the way to it, is not in it."
    )
