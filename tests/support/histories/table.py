"""What runs came to, store by store and fault by fault: kept as JSON lines, shown as Markdown."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from histories.runs import Result

# The columns, and the faults that each sums up.
COLUMNS = {
    "none": ("no fault",),
    "workers": ("kill", "stop", "reload", "max-requests"),
    "holder": ("stopped-holder",),
    "system calls": ("system-calls",),
    "server": ("pause", "restart"),
    "network": ("lost-reply", "late-command"),
    "failover": ("failover", "resharding"),
    "lost primary": ("killed-primary", "stopped-primary", "cut-off-primary"),
}
_HEAD = ["store", *COLUMNS, "violations"]


@dataclass
class Cell:
    """The runs on one store under the faults of one column."""

    operations: int = 0
    violations: int = 0
    unavailable: float = 0.0

    def __str__(self) -> str:
        return f"{self.operations:,} ({self.unavailable:.1f} s)" if self.operations else ""


def add(result: Result, path: Path) -> None:
    """Add a run to the file."""
    facts = {
        "place": result.plan.place,
        "fault": result.plan.fault_names,
        "worker_class": result.plan.worker_class,
        "strikes": result.strikes,
        "operations": len(result.history.operations),
        "violations": len(result.violations),
        "unavailable": result.unavailable,
    }
    with path.open("a") as file:
        file.write(json.dumps(facts) + "\n")


def table_of(path: Path) -> str:
    """All runs of a file: operations, and in brackets the longest time without a right answer."""
    columns = {fault: column for column, faults in COLUMNS.items() for fault in faults}
    stores: dict[str, dict[str, Cell]] = defaultdict(lambda: defaultdict(Cell))
    for line in path.read_text().splitlines():
        facts = json.loads(line)
        cell = stores[facts["place"]][columns[facts["fault"]]]
        cell.operations += facts["operations"]
        cell.violations += facts["violations"]
        cell.unavailable = max(cell.unavailable, facts["unavailable"])
    lines = [_row(["---"] * len(_HEAD))]
    for store, cells in stores.items():
        violations = sum(cell.violations for cell in cells.values())
        lines.append(_row([store, *(str(cells[column]) for column in COLUMNS), str(violations)]))
    return "\n".join([_row(_HEAD), *lines])


def _row(words: list[str]) -> str:
    return f"| {' | '.join(words)} |"
