"""What is claimed, as ratios of medians in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from benchmarks.harness.rounds import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Verdict(NamedTuple):
    """A claim and what was measured: at most (or at least) `limit`, in `unit`."""

    claim: str
    found: Spread
    bound: Literal["≤", "≥"]
    limit: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether the median keeps to the limit."""
        if self.bound == "≤":
            return self.found.median <= self.limit
        return self.found.median >= self.limit

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        found = self.found._asdict()
        return {**self._asdict(), "found": found, "met": self.is_met}


def from_json(rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts of some results."""
    return [
        Verdict(row["claim"], Spread(**row["found"]), row["bound"], row["limit"], row["unit"])
        for row in rows
    ]


def at_most(claim: str, found: Spread, limit: float, unit: str) -> Verdict:
    """A claim that less is better of."""
    return Verdict(claim, found, "≤", limit, unit)


def at_least(claim: str, found: Spread, limit: float, unit: str) -> Verdict:
    """A claim that more is better of."""
    return Verdict(claim, found, "≥", limit, unit)


def as_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """For people."""
    lines = [f"{'claim':52}{'min':>9}{'median':>9}{'max':>9}   target"]
    for one in verdicts:
        found = one.found
        lines.append(
            f"{one.claim:52}{found.min:9.2f}{found.median:9.2f}{found.max:9.2f}"
            f"   {one.bound} {one.limit:g} {one.unit}: {'met' if one.is_met else 'MISSED'}"
        )
    return lines
