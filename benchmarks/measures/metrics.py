"""What metrics add to a request, warm, in process: the same pages with them and without.

Both stacks serve in the same rounds. A page that leaves its session alone, one that reads it, and
one that changes it. Sessions are in memory: metrics add the same on every store, and a disk would
hide it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks.harness.machine import as_line, awake, machine
from benchmarks.harness.rounds import less, measure, spread
from benchmarks.harness.visitors import environ
from wsgi_sessions import Config, build, get_session

if TYPE_CHECKING:
    from benchmarks.harness.rounds import Call, Timer

SECRET = "benchmark-secret-benchmark-secret-benchmark"
PATHS = ("/none", "/read", "/write")
LIMITS = {"/none": 1.0, "/read": 2.0, "/write": 3.0}
"""Microseconds that metrics may add."""


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Three pages."""
    path = environ["PATH_INFO"]
    if path != "/none":
        session = get_session(environ)
        number = session.get("number", 0)
        if path == "/write":
            session["number"] = number + 1
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


class MeteredVisitor:
    """One visitor of a stack, with or without metrics."""

    def __init__(self, folder: str, metrics_path: str) -> None:
        values = {
            "WSGI_SESSIONS_URL": "memory://",
            "WSGI_SESSIONS_SECRET_KEYS": SECRET,
            "WSGI_SESSIONS_SWEEP_INTERVAL": "off",
            "WSGI_SESSIONS_CHOICE_FOLDER": folder,
            "WSGI_SESSIONS_METRICS_PATH": metrics_path,
        }
        self.app = build(application, Config.from_environ(values))
        self._cookie: str | None = None
        self.get("/write")
        self.get("/write")

    def get(self, path: str) -> None:
        """One request."""
        request = environ(path, self._cookie)
        request["wsgi.url_scheme"] = "https"
        body = self.app(request, self._start_response)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    def _start_response(self, _: str, headers: list[tuple[str, str]], *__: Any) -> Any:
        cookie = dict(headers).get("Set-Cookie")
        if cookie is not None:
            self._cookie = cookie.partition(";")[0]


def timer(call: Call) -> Timer:
    """A timer of the processor's time: others on the machine do not count."""

    def timed(count: int) -> float:
        gc.collect()
        started = time.process_time()
        for _ in range(count):
            call()
        return time.process_time() - started

    return timed


def run(folder: str, rounds: int, seconds: float) -> dict[str, Any]:
    """A row for each page: microseconds without metrics, and what they add."""
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir=os.path.abspath(folder)))
        sides = {
            "off": MeteredVisitor(place, "off"),
            "on": MeteredVisitor(place, "/metrics"),
        }
        for visitor in sides.values():
            stack.callback(visitor.app.close)
        timers = {
            f"{path} {side}": timer(lambda path=path, visitor=visitor: visitor.get(path))  # type: ignore[misc]
            for path in PATHS
            for side, visitor in sides.items()
        }
        stack.enter_context(awake())
        figures = measure(timers, rounds, seconds)
    return {
        path: {
            "without": spread(figures[f"{path} off"])._asdict(),
            "added": spread(less(figures[f"{path} on"], figures[f"{path} off"]))._asdict(),
            "limit": LIMITS[path],
        }
        for path in PATHS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--milliseconds", type=float, default=40.0, help="per page and round")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    rows = run(options.folder, options.rounds, options.milliseconds / 1000)
    if options.json:
        print(json.dumps({"machine": machine(options.folder), "pages": rows}, indent=2))
        return
    print(as_line(machine(options.folder)), "", sep="\n")
    for path, row in rows.items():
        added, before = row["added"]["median"], row["without"]["median"]
        verdict = "met" if added <= row["limit"] else "MISSED"
        print(
            f"{path:7} without {before:6.2f} µs, metrics add {added:5.2f} µs; "
            f"target ≤ {row['limit']} µs: {verdict}"
        )


if __name__ == "__main__":
    main()
