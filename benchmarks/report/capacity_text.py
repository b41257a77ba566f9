"""CAPACITY.md: what is measured, what is checked, and what is modelled, from the kept results."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import HERE, RESULTS
from benchmarks.report import capacity
from benchmarks.report.quantities import HOUR, in_bytes, in_time, roughly

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_markdown(results: Mapping[str, Any]) -> str:
    """The whole document."""
    lines = [
        "# Capacity",
        "",
        "What live sessions need, from what was measured. Made by `benchmarks/report/capacity.py`",
        "from `benchmarks/results.json`; do not edit. **Measured** are the first table and the",
        "last column of the second; all else is **modelled** from it, and from what is assumed",
        "below.",
        "",
        *_measured_lines(results),
        "",
        *_check_lines(results),
        "",
    ]
    for title, (name, need) in capacity.STORES.items():
        point = capacity.measured(results, name)
        lines += [f"## {title} (modelled)", ""]
        if point is None:
            lines += ["Not measured in this run.", ""]
            continue
        lines += [
            "| live sessions | space | machines | load | expiry | when one fails |",
            "|---|---|---|---|---|---|",
            *(f"| {count:,} | {' | '.join(need(count, point))} |" for count in capacity.COUNTS),
            "",
        ]
    return "\n".join([*lines, *_where_each_stops(results), "", *_assumption_lines(), ""])


def _measured_lines(results: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Measured",
        "",
        (
            "| store | sessions | bytes each | a read, p50 µs | CPU of a worker per read, µs "
            "| a sweep: per live, µs | per expired, µs |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for title in ("files", "Redis", "SQLite", "PostgreSQL"):
        point = capacity.measured(results, title)
        if point is not None:
            count = max(results["growth"]["sessions"][f"wsgi_sessions, {title}"], key=int)
            cells = [f"{point.bytes_each:,.0f}", f"{point.read:.0f}", _cell(point.cpu)]
            cells += [_cell(point.scan or None), _cell(point.removal or None)]
            lines.append(f"| {title} | {int(count):,} | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _check_lines(results: Mapping[str, Any]) -> list[str]:
    """Where small numbers predict large ones, and the formula a simulated day."""
    lines = [
        "## Checked",
        "",
        "| what | predicted | found | error |",
        "|---|---|---|---|",
    ]
    for title in ("files", "Redis"):
        row = results["growth"]["sessions"].get(f"wsgi_sessions, {title}", {})
        counts = sorted(row, key=int)
        for fewer, more in itertools.pairwise(counts):
            predicted = row[fewer]["bytes per session"] * int(more)
            found = row[more]["bytes per session"] * int(more)
            lines.append(
                f"| {title}: space of {int(more):,} from that of {int(fewer):,} "
                f"| {in_bytes(predicted)} | {in_bytes(found)} measured "
                f"| {100 * (predicted / found - 1):+.1f} % |"
            )
    point = capacity.measured(results, "files")
    if point is not None and point.removal > 0:
        found_at = capacity.check(20_000, point.removal)
        lines.append(
            f"| stored files for {found_at.live:,.0f} live sessions, swept every "
            f"{in_time(capacity.ASSUMED.sweep_interval)} "
            f"| {found_at.by_formula:,.0f} | {found_at.simulated:,.0f} simulated (a day, seeded; "
            f"at most {found_at.most:,}) | {100 * found_at.error:+.1f} % |"
        )
    return lines


def _where_each_stops(results: Mapping[str, Any]) -> list[str]:
    lines = ["## Where each stops being the right choice (modelled)", ""]
    assumed = capacity.ASSUMED
    point = capacity.measured(results, "files")
    if point is not None and point.scan > 0:
        tenth = 0.1 * assumed.sweep_interval / capacity.sweep_seconds(1, point)
        lines += [
            "- **Files**: one machine, or a network file system. Above some",
            f"  {roughly(tenth)} sessions sweeping takes a tenth of the time of one processor;",
            "  and there is no failover.",
        ]
    point = capacity.measured(results, "Redis")
    if point is not None:
        by_memory = assumed.redis_memory / point.bytes_each
        by_commands = assumed.redis_commands * 0.5 / capacity.commands_per_second(1)
        why, most = min(("memory", by_memory), ("commands", by_commands), key=lambda one: one[1])
        lines += [
            f"- **Redis with a replica**: up to some {roughly(most)} sessions",
            f"  ({why} decide), where the last writes before a failover may be lost.",
            "- **Redis Cluster**: beyond that. Each shard is a Redis as above; sessions share",
            "  nothing, so it grows by shards.",
        ]
    if capacity.measured(results, "PostgreSQL") is not None:
        most = assumed.postgresql_writes / capacity.writes_per_second(1)
        lines += [
            f"- **PostgreSQL**: up to some {roughly(most)} sessions by writes; where no",
            "  acknowledged write may be lost, or where it is there anyway.",
        ]
    return lines


def _assumption_lines() -> list[str]:
    a, million = capacity.ASSUMED, capacity.COUNTS[0]
    rate = capacity.traffic(million).requests_per_second
    return [
        "## Assumptions",
        "",
        f"- A session has {a.requests:g} requests, {a.pause:g} s apart; {100 * a.written:g} %",
        f"  of them change it. It ends {a.idle_lifetime / HOUR:g} h after the last. Its data are",
        f"  those of the benchmark: some 100 bytes. The busiest hour has {a.peak:g} times",
        "  the mean.",
        "- Live sessions = arrivals per second x (time in use + idle lifetime): with",
        f"  {million:,} live ones that is {rate:,.0f} requests/s on average.",
        f"- One Redis process: {a.redis_commands:,.0f} commands/s, half of which is planned",
        f"  with, and {in_bytes(a.redis_memory)}; {100 * a.redis_spare:g} % of memory is kept for",
        "  copy-on-write.",
        f"- A node is taken for dead after {a.detection:g} s; a replica lags by",
        f"  {1000 * a.lag:g} ms.",
        f"- One PostgreSQL: {a.postgresql_writes:,.0f} short write transactions/s;",
        f"  {a.postgresql_bloat:g} times the space between two vacuums; {a.wal:g} bytes of log per",
        "  byte of row.",
        f"- Copies between machines go at {in_bytes(a.network)}/s. One worker sweeps every",
        f"  {in_time(a.sweep_interval)}.",
    ]


def write(results: Mapping[str, Any]) -> None:
    """Make CAPACITY.md anew."""
    (HERE / "CAPACITY.md").write_text(as_markdown(results), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--results", default=str(RESULTS), metavar="FILE")
    options = parser.parse_args()
    print(as_markdown(json.loads(Path(options.results).read_text("utf-8"))))


if __name__ == "__main__":
    main()
