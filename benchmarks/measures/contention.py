"""Measure 5: 1 to 64 processes that change one session at once, as fast as they can.

Each is a process that asks its own copy of the application to count up. What is kept is read at the
end; what a writer waited at worst, and how much the slowest of them got done, are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import BY_NAME
from benchmarks.harness.child import Child
from benchmarks.harness.machine import awake
from benchmarks.harness.rounds import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.harness.places import Place

LEVELS = (1, 2, 4, 8, 16, 32, 64)
NAMES = (
    "wsgi_sessions, files",
    "wsgi_sessions, Redis",
    "wsgi_sessions, SQLite",
    "wsgi_sessions, PostgreSQL",
    "Django, files",
    "pyramid_session_redis, Redis",
)


def run(place: Place, seconds: float, levels: Iterable[int] = LEVELS) -> dict[str, Any]:
    """All of it, as JSON."""
    rows: dict[str, dict[str, Any]] = {}
    with awake():
        for name in NAMES:
            if BY_NAME[name].missing(place) is not None:
                continue
            with Child(name, place) as child:
                child.log_in(1)
                rows[name] = {}
                for level in levels:
                    progress(f"contention: {name}, {level} writers")
                    rows[name][str(level)] = child.contend(level, seconds)
    progress("")
    return {"seconds": seconds, "contestants": rows}


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = [
        (
            f"{'writers on one session':34}{'writers':>8}{'done/s':>9}{'lost':>8}{'refused':>9}"
            f"{'retries':>9}{'worst ms':>10}{'fewest':>8}"
        )
    ]
    for name, row in report["contestants"].items():
        for level, found in row.items():
            lost = found["done"] - found["kept"]
            lines.append(
                f"{name:34}{level:>8}{found['per second']:9.0f}{lost:8}{found['refused']:9}"
                f"{found['retries']:9}{found['worst wait ms']:10.1f}{found['fewest of one']:8}"
            )
    return lines
