"""What happened, as the clients saw it: operations with begin and end, and the server's reports.

A history is kept as JSON lines, one operation or report each, and can be judged again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Outcome = Literal["ok", "failed", "unknown"]
Span = tuple[float, float]  # seconds of the clock of operations
DELETED = ""  # in place of a received key: the response deleted the cookie
# Reports that a request's changes were not stored.
DROPPED = frozenset({"gone", "dropped", "superseded", "lost"})


@dataclass(frozen=True)
class Operation:
    """One request of a client. Times are seconds of one monotonic clock of the machine.

    `session` names the visitor, whatever ids the session has had; `sent` and `received` are short
    store keys of the cookie in the request and in the response. "failed" has no effect, "unknown"
    (503, a broken connection) may have one at any time after its begin. `values` are what the
    request found at its first access: empty if there was no session, None if nothing is known.
    `inside` is when an exclusive block was entered and left, `total` what it read there.
    """

    number: int
    process: str
    session: str
    name: str
    begin: float
    end: float
    outcome: Outcome = "ok"
    sent: str | None = None
    received: str | None = None
    status: int | None = None
    values: Mapping[str, Any] | None = None
    inside: tuple[float, float] | None = None
    total: int | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the request was answered without a session."""
        return self.outcome == "ok" and self.values is not None and not self.values

    def __str__(self) -> str:
        span = f"{self.begin:.4f}-{self.end:.4f}"
        ids = f"{self.sent or '-'}" + (
            "" if self.received is None else f" → {self.received or 'x'}"
        )
        status = "" if self.status is None else f" {self.status}"
        return f"{span} {self.process} {self.name} {self.number} {self.outcome}{status} ({ids})"


@dataclass(frozen=True)
class Report:
    """An event of the server about the request of one operation; `path` is a conflict's key."""

    name: str
    number: int | None
    path: str = ""
    key: str | None = None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Report:
        """The report in an event that the application wrote down."""
        _, _, number = str(event.get("route", "")).rpartition("/")
        known = int(number) if number.isdigit() else None
        return cls(event["name"], known, str(event.get("path", "")), event.get("key"))


@dataclass(frozen=True)
class History:
    """Operations in the order of their begin, and reports in that of the server's log.

    `excused` are spans of time in which the documents promise less, from and to; in those of
    `stale`, what was read may be old, but what was acknowledged holds.
    """

    operations: tuple[Operation, ...]
    reports: tuple[Report, ...] = ()
    excused: tuple[Span, ...] = ()
    stale: tuple[Span, ...] = ()
    dropped: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.operations, key=lambda operation: operation.begin))
        object.__setattr__(self, "operations", ordered)
        numbers = {r.number for r in self.reports if r.name in DROPPED and r.number is not None}
        object.__setattr__(self, "dropped", frozenset(numbers))

    def sessions(self) -> dict[str, History]:
        """The history of each session for itself."""
        parts: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.operations:
            parts[operation.session].append(operation)
        return {name: self.only(operations) for name, operations in parts.items()}

    def only(self, operations: Iterable[Operation]) -> History:
        """These operations, and what was reported of them."""
        kept = tuple(operations)
        numbers = {operation.number for operation in kept}
        reports = tuple(r for r in self.reports if r.number in numbers)
        return History(kept, reports, self.excused, self.stale)

    def is_excused(self, operation: Operation) -> bool:
        """Whether it was under way while less was promised."""
        return _is_in(operation, self.excused)

    def may_be_stale(self, operation: Operation) -> bool:
        """Whether it was under way while a store may have answered with old data."""
        return _is_in(operation, self.stale)

    def conflicts(self, number: int, path: str) -> int:
        """How many conflicts about this key (or a part of it) the operation's request reported."""
        return sum(
            report.name == "conflict"
            and report.number == number
            and (report.path == path or report.path.startswith((f"{path}.", f"{path}[")))
            for report in self.reports
        )


def _is_in(operation: Operation, spans: Iterable[Span]) -> bool:
    return any(operation.begin < end and begin < operation.end for begin, end in spans)


def write(history: History, path: Path) -> None:
    """Keep a history as JSON lines."""
    with path.open("w") as file:
        for kind, items in (("operation", history.operations), ("report", history.reports)):
            for item in items:
                file.write(json.dumps({"kind": kind, **asdict(item)}) + "\n")
        for kind, spans in (("excused", history.excused), ("stale", history.stale)):
            for span in spans:
                file.write(json.dumps({"kind": kind, "span": span}) + "\n")


def read(path: Path) -> History:
    """A history that was kept. Raises ValueError at a line of another kind."""
    operations, reports = [], []
    spans: dict[str, list[Span]] = {"excused": [], "stale": []}
    for line in _lines(path):
        kind = line.pop("kind")
        if kind == "operation":
            if line["inside"] is not None:
                line["inside"] = tuple(line["inside"])
            operations.append(Operation(**line))
        elif kind == "report":
            reports.append(Report(**line))
        elif kind in spans:
            begin, end = line["span"]
            spans[kind].append((begin, end))
        else:
            expected = "expected operation, report, excused or stale"
            raise ValueError(f"{path}: a line of kind {kind!r}; {expected}")
    return History(
        tuple(operations), tuple(reports), tuple(spans["excused"]), tuple(spans["stale"])
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)
