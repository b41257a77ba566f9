"""Everything that is measured side by side, in one run: results as JSON and as pictures.

Quick tries whether it works; normal takes about twelve minutes; full goes to a million sessions.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks import HERE, RESULTS
from benchmarks.contestants.table import BY_NAME, CONTESTANTS, present
from benchmarks.harness import targets
from benchmarks.harness.child import Child
from benchmarks.harness.machine import as_line, machine
from benchmarks.harness.places import Place, place
from benchmarks.measures import (
    adapters,
    contention,
    faults,
    growth,
    in_process,
    lost,
    under_gunicorn,
)
from benchmarks.report import capacity_text, pictures
from benchmarks.report.documents import insert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PICTURES = str(HERE / "pictures")
EVERY = [one.name for one in CONTESTANTS]
THREADED = (
    "bare WSGI",
    "floor, files",
    "floor, Redis",
    "wsgi_sessions, files",
    "wsgi_sessions, Redis",
    "wsgi_sessions, SQLite",
    "wsgi_sessions, PostgreSQL",
    "secure-cookie, files",
    "pyramid_session_redis, Redis",
)


def measures(extent: str) -> dict[str, Callable[[Place], dict[str, Any]]]:
    """What there is to measure, by name: quick, normal or full."""
    rounds = {"quick": 2, "normal": 9, "full": 25}[extent]
    load = {"quick": 0.1, "normal": 0.25, "full": 0.35}[extent]
    turns = {"quick": 1, "normal": 3, "full": 21}[extent]
    bursts = {"quick": 2, "normal": 10, "full": 40}[extent]
    contended = {"quick": 0.2, "normal": 1.0, "full": 3.0}[extent]
    grown = {"quick": growth.QUICK, "normal": growth.NORMAL, "full": growth.FULL}[extent]
    return {
        "in_process": lambda here: in_process.run(here, rounds, 0.03),
        "adapters": lambda here: adapters.run(here, rounds, 0.02),
        "gunicorn_sync": lambda here: under_gunicorn.run(here, "sync", EVERY, turns, load),
        "gunicorn_gthread": lambda here: under_gunicorn.run(here, "gthread", THREADED, turns, load),
        "lost": lambda here: lost.run(here, bursts),
        "growth": lambda here: growth.run(here, grown),
        "contention": lambda here: contention.run(here, contended),
        "faults": faults.run,
    }


TEXTS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "in_process": in_process.as_lines,
    "adapters": adapters.as_lines,
    "gunicorn_sync": under_gunicorn.as_lines,
    "gunicorn_gthread": under_gunicorn.as_lines,
    "lost": lost.as_lines,
    "growth": growth.as_lines,
    "contention": contention.as_lines,
    "faults": faults.as_lines,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_const", dest="extent", const="quick")
    extent.add_argument("--full", action="store_const", dest="extent", const="full")
    parser.set_defaults(extent="normal")
    parser.add_argument("--only", nargs="+", choices=TEXTS, help="and keep the other results")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument(
        "--results", default=str(RESULTS), metavar="FILE", help="where results are kept"
    )
    parser.add_argument("--pictures", default=PICTURES, metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print results for machines")
    parser.add_argument("--show", action="store_true", help="measure nothing, draw what is kept")
    parser.add_argument(
        "--documents",
        action="store_true",
        help="put what is kept into README.md, docs/ and CAPACITY.md",
    )
    parser.add_argument("--selftest", action="store_true", help="does every contestant work?")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    if options.selftest:
        sys.exit(selftest(options.folder))
    results = _kept(options.results) if options.only or options.show or options.documents else {}
    if not (options.show or options.documents):
        _run(results, options)
    pictures.write_all(results, options.pictures)
    if options.documents:
        insert(results)
        capacity_text.write(results)
    print(json.dumps(results, indent=2) if options.json else as_text(results))


def _leave(*_: Any) -> None:
    """End like an exception does, so that no server is left behind."""
    sys.exit("ended from outside; what was measured until then is kept")


def _kept(path: str) -> dict[str, Any]:
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        kept: dict[str, Any] = json.load(file)
    return kept


def _run(results: dict[str, Any], options: argparse.Namespace) -> None:
    wanted = options.only or list(TEXTS)
    every = measures(options.extent)
    with place(options.folder) as here:
        left_out = present(here)[1]
        results.update(machine=machine(options.folder), **{"left out": left_out})
        for name, reason in left_out.items():
            print(f"left out: {name}: {reason}", file=sys.stderr)
        for name in wanted:
            began = time.monotonic()
            results[name] = every[name](here)
            seconds = time.monotonic() - began
            results.setdefault("runs", {})[name] = {
                "extent": options.extent,
                "seconds": round(seconds, 1),
                "ended": time.strftime("%Y-%m-%d %H:%M:%S%z"),
            }
            print(f"{name}: {seconds:.0f} s", file=sys.stderr)
            _keep(results, options.results)


def _keep(results: dict[str, Any], path: str) -> None:
    """At once after each measure, so that an interrupted run has what it has."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(_rounded(results), file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(temporary, path)


def _rounded(value: Any) -> Any:
    """Four digits are more than these measurements mean."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def as_text(results: Mapping[str, Any]) -> str:
    """All of it for people."""
    lines = [as_line(results["machine"])]
    verdicts: list[targets.Verdict] = []
    for name, text in TEXTS.items():
        if name in results:
            lines += ["", f"== {name}", *text(results[name])]
            verdicts += targets.from_json(results[name].get("targets", ()))
    return "\n".join([*lines, "", "== targets", *targets.as_lines(verdicts)])


def selftest(folder: str) -> int:
    """Whether every contestant keeps a session from one request to the next."""
    failed = 0
    with place(folder) as here:
        taking_part, left_out = present(here, BY_NAME.values())
        for one in taking_part:
            if one.kind in ("ours", "peer"):
                found = problem(one.name, here)
                failed += found is not None
                print(f"{one.name}: {found or 'keeps its session'}")
        for name, reason in left_out.items():
            print(f"{name}: left out: {reason}")
    return failed


def problem(name: str, here: Place) -> str | None:
    """What is wrong with a contestant, or None: it keeps its session, and ends it."""
    with Child(name, here) as child:
        try:
            child.log_in(1)
        except RuntimeError as error:
            return str(error)
        for path in ("/null", "/read", "/write", "/append", "/increment", "/key"):
            answer = child.request(path, item=3)
            if answer.body != "ok":
                return f"{path} answered {answer.status}: {answer.body[:200]}"
        state = json.loads(child.request("/state").body)
        expected = {"user": "somebody", "n": 2, "items": ["3"], "key3": "3", "text": 0}
        if state != expected:
            return f"has {state} instead of {expected}"
        child.request("/logout")
        after = json.loads(child.request("/state").body)
        return None if "user" not in after else "is still logged in after a log-out"


if __name__ == "__main__":
    main()
