"""What a session costs a request, in process, as ratios to floors measured in the same run.

The quick one, of this package alone; `run.py` compares with others. The floors are what nobody can
go below without giving up the store (`floors`).
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from typing import Any

from benchmarks.contestants.table import BARE, CONTESTANTS, Contestant
from benchmarks.harness.machine import as_line, awake, kept_on, machine, processors
from benchmarks.harness.places import Place, place
from benchmarks.harness.rounds import Timer, measure
from benchmarks.harness.targets import as_lines, from_json
from benchmarks.harness.visitors import Visitors
from benchmarks.measures.in_process import VISITORS, as_rows, by_contestant, judge, paths_of, table


def timers(here: Place, stack: ExitStack) -> dict[str, Timer]:
    """All that is measured, by contestant and path, in this one process."""
    found: dict[str, Timer] = {}
    for one in filter(_is_wanted, CONTESTANTS):
        if one.missing(here) is not None:
            continue
        site = one.build(here)
        stack.callback(getattr(site.app, "close", lambda: None))
        visitors = Visitors(site)
        if one.kind == "ours":
            visitors.log_in(VISITORS, "")
        found.update({f"{one.name} {path}": visitors.timer(path) for path in paths_of(one)})
    return found


def _is_wanted(one: Contestant) -> bool:
    return one.kind in ("floor", "ours") or one.name == BARE


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--milliseconds", type=float, default=40.0, help="per contestant and round")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    with ExitStack() as stack:
        here = stack.enter_context(place(options.folder))
        calls = timers(here, stack)
        with awake(), kept_on(processors()[:1], [os.getpid(), *here.server_pids()]):
            figures = by_contestant(measure(calls, options.rounds, options.milliseconds / 1000))
    report: dict[str, Any] = {
        "machine": machine(options.folder),
        "microseconds": as_rows(figures),
        "targets": [verdict.as_json() for verdict in judge(figures)],
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    verdicts = as_lines(from_json(report["targets"]))
    print(
        "\n".join([as_line(report["machine"]), "", *table(report["microseconds"]), "", *verdicts])
    )


if __name__ == "__main__":
    main()
