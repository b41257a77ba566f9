"""What a request costs with this package, and with another tree of it, both in one run::

    python -m benchmarks.measures.against TREE

TREE is a checkout of another commit, such as ``git worktree add ../before v1.0`` makes. Both serve
the same pages; all take turns in rounds, on one processor, with their server. A ratio below 1 says
that this tree is the faster one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from contextlib import ExitStack
from typing import Any

from benchmarks.harness.child import Child
from benchmarks.harness.machine import as_line, awake, kept_on, machine, processors
from benchmarks.harness.places import Place, place
from benchmarks.harness.rounds import Timer, measure
from benchmarks.measures.in_process import VISITORS

COUNTED = {
    "wsgi_sessions, files": ("/null", "/read", "/write"),
    "wsgi_sessions, Redis": ("/read", "/write"),
}


def run(here: Place, tree: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each store and page: microseconds of both, and their ratio."""
    counted = {n: paths for n, paths in COUNTED.items() if here.redis or "Redis" not in n}
    with ExitStack() as stack:
        timers: dict[str, Timer] = {}
        pids = here.server_pids()
        for name, paths in counted.items():
            for side, source in (("before", tree), ("now", None)):
                child = stack.enter_context(Child(name, here, source))
                child.log_in(VISITORS)
                pids.append(child.pid)
                timers.update({f"{name} {path} {side}": child.timer(path) for path in paths})
        with awake(), kept_on(processors()[:1], [os.getpid(), *pids]):
            figures = measure(timers, rounds, seconds)
    return [
        _row(name, path, figures[f"{name} {path} before"], figures[f"{name} {path} now"])
        for name, paths in counted.items()
        for path in paths
    ]


def _row(name: str, path: str, before: list[float], now: list[float]) -> dict[str, Any]:
    return {
        "contestant": name,
        "path": path,
        "before": min(before),
        "now": min(now),
        "ratio of minima": min(now) / min(before),
        "median ratio": statistics.median(b / a for a, b in zip(before, now, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("tree", help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--milliseconds", type=float, default=40.0, help="per page and round")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    with place(options.folder) as here:
        tree = os.path.abspath(options.tree)
        rows = run(here, tree, options.rounds, options.milliseconds / 1000)
    if options.json:
        print(json.dumps({"machine": machine(options.folder), "rows": rows}, indent=2))
        return
    print(as_line(machine(options.folder)), "", sep="\n")
    for row in rows:
        print(
            f"{row['contestant']:22} {row['path']:7} before {row['before']:7.2f} µs, "
            f"now {row['now']:7.2f} µs, ratio {row['ratio of minima']:.3f} "
            f"(median {row['median ratio']:.3f})"
        )


if __name__ == "__main__":
    main()
