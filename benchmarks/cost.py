"""What a session costs a request, in process, as ratios to floors measured in the same run.

Each round runs every contestant for some milliseconds, in turn; a ratio is taken within each round,
and its median over the rounds is the result. So a machine that gets slower meanwhile slows both.

The floors are what nobody can go below without giving up the store: one open/read/close, one
write-temporary-and-replace, one redis-py ``GETEX``, one ``GET`` and ``SET``.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

import wsgi_sessions
from wsgi_sessions import Config, build, get_session

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from redis_servers import RedisServer, available

SECRET = "benchmark-secret-benchmark-secret-benchmark"
SESSIONS = 200
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "2")]
Call = Callable[[], object]


class Target(NamedTuple):
    """A claim: `contestant`, less `minus`, costs at most `limit` times the floor (or µs)."""

    contestant: str
    minus: str
    floor: str | None
    limit: float


TARGETS = [
    Target("null", "bare WSGI", None, 3.0),
    Target("file read", "bare WSGI", "open, read, close", 3.0),
    Target("file write", "bare WSGI", "read, write temporary, replace", 0.3),
    Target("Redis read", "bare WSGI", "redis-py GETEX", 1.1),
    Target("Redis write", "bare WSGI", "redis-py GET and SET", 1.1),
]


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Reads, writes or leaves its session alone, as the path says."""
    path = environ["PATH_INFO"]
    if path == "/read":
        get_session(environ)["user"]
    elif path == "/write":
        session = get_session(environ)
        session["n"] = session["n"] + 1
    elif path == "/new":
        get_session(environ).update(user="somebody", n=0, cart=["a", "b", "c"], theme="dark")
    start_response("200 OK", [*HEADERS])
    return [b"ok"]


class Visitors:
    """Users of one stack, each with a session of some hundred bytes, who take turns."""

    def __init__(self, url: str) -> None:
        config = Config(url=url, secret_keys=(SECRET,), sweep_interval=None)
        self.app = build(application, config)
        self._cookies = [self._log_in() for _ in range(SESSIONS)]
        self._turn = 0

    def request(self, path: str) -> Call:
        def call() -> None:
            self._turn = (self._turn + 1) % SESSIONS
            list(self.app(environ(path, self._cookies[self._turn]), _start_response))

        return call

    def _log_in(self) -> str:
        seen: dict[str, str] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            seen.update(headers)

        list(self.app(environ("/new"), start_response))
        return seen["Set-Cookie"].partition(";")[0]


def environ(path: str, cookie: str | None = None) -> dict[str, Any]:
    """A small request."""
    values: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "wsgi.url_scheme": "https",
    }
    if cookie is not None:
        values["HTTP_COOKIE"] = cookie
    return values


def _start_response(*_: Any) -> Any:
    return None


# -- contestants and floors --------------------------------------------------------------------


def file_floors(folder: str) -> Iterator[tuple[str, Call]]:
    """What plain files cost, as many as there are sessions: no lock, no check, no expiry."""
    turns, temporary, payload = itertools.cycle(range(SESSIONS)), f"{folder}/temporary", b"x" * 300

    def write(path: str) -> None:
        with open(temporary, "wb") as file:
            file.write(payload)
        os.replace(temporary, path)

    def read(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def read_one() -> bytes:
        return read(f"{folder}/floor{next(turns)}")

    def read_and_write_one() -> None:
        path = f"{folder}/floor{next(turns)}"
        read(path)
        write(path)

    for number in range(SESSIONS):
        write(f"{folder}/floor{number}")
    yield "open, read, close", read_one
    yield "read, write temporary, replace", read_and_write_one


def redis_floors(url: str) -> Iterator[tuple[str, Call]]:
    """What redis-py costs as it is commonly used, hiredis installed."""
    client, turns, payload = redis.Redis.from_url(url), itertools.cycle(range(SESSIONS)), b"x" * 300

    def read() -> object:
        return client.getex(f"floor{next(turns)}", ex=3600)

    def read_and_write() -> None:
        key = f"floor{next(turns)}"
        client.get(key)
        client.set(key, payload, ex=3600)

    for _ in range(SESSIONS):
        read_and_write()
    yield "redis-py GETEX", read
    yield "redis-py GET and SET", read_and_write


@contextmanager
def contestants(folder: str) -> Iterator[dict[str, Call]]:
    """All that is measured, by name."""
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir=os.path.abspath(folder)))
        calls: dict[str, Call] = {
            "bare WSGI": lambda: list(application(environ("/"), _start_response))
        }
        calls.update(file_floors(place))
        stores = {"file": f"file://{place}/sessions", "memory": "memory://"}
        if available() is None:
            server = stack.enter_context(RedisServer())
            calls.update(redis_floors(server.url))
            stores["Redis"] = server.url
        for name, url in stores.items():
            visitors = Visitors(url)
            stack.callback(visitors.app.close)
            calls.setdefault("null", visitors.request("/null"))
            calls[f"{name} read"] = visitors.request("/read")
            calls[f"{name} write"] = visitors.request("/write")
        yield calls


# -- measuring ---------------------------------------------------------------------------------


@contextmanager
def awake() -> Iterator[None]:
    """Keep every processor from sleeping, with work that gives way to any other (SCHED_IDLE).

    A processor that has gone to sleep between a request and its reply takes longer to wake up than
    the reply takes to make. That hides what is compared, and differs from moment to moment.
    """
    spin = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"
    spinners = [subprocess.Popen([sys.executable, "-c", spin]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def measure(calls: dict[str, Call], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds per call, one figure per round."""
    counts = {name: _calls_in(call, seconds) for name, call in calls.items()}
    figures: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            figures[name].append(_time(call, counts[name]))
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return figures


def _calls_in(call: Call, seconds: float) -> int:
    for _ in range(SESSIONS):
        call()
    return max(20, int(seconds / (_time(call, 100) / 1e6)))


def _time(call: Call, count: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count * 1e6


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def judge(figures: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Each target with its ratio, round by round."""
    results = []
    for target in TARGETS:
        if target.contestant not in figures:
            continue
        costs = [
            mine - less
            for mine, less in zip(figures[target.contestant], figures[target.minus], strict=True)
        ]
        if target.floor is not None:
            costs = [c / floor for c, floor in zip(costs, figures[target.floor], strict=True)]
        ratio = spread(costs)
        results.append({**target._asdict(), **ratio, "met": ratio["median"] <= target.limit})
    return results


def machine(folder: str) -> dict[str, str]:
    """What the figures belong to."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False
    )
    return {
        "wsgi_sessions": wsgi_sessions.__version__,
        "python": platform.python_version(),
        "redis-py": redis.__version__,
        "kernel": platform.release(),
        "file system": kind.stdout.strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--milliseconds", type=float, default=40.0, help="per contestant and round")
    parser.add_argument("--folder", default=".", help="on the file system to measure")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    with contestants(options.folder) as calls, awake():
        figures = measure(calls, options.rounds, options.milliseconds / 1000)
    report = {
        "machine": machine(options.folder),
        "microseconds": {name: spread(values) for name, values in figures.items()},
        "targets": judge(figures),
    }
    print(json.dumps(report, indent=2) if options.json else as_text(report))


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [", ".join(f"{name} {value}" for name, value in report["machine"].items()), ""]
    lines.append(f"{'µs per request':34}{'min':>9}{'median':>9}{'max':>9}")
    for name, row in report["microseconds"].items():
        lines.append(f"{name:34}{row['min']:9.2f}{row['median']:9.2f}{row['max']:9.2f}")
    lines += [
        "",
        f"{'less bare WSGI, over its floor':34}{'min':>9}{'median':>9}{'max':>9}   target",
    ]
    for row in report["targets"]:
        unit = "µs" if row["floor"] is None else f"x {row['floor']}"
        verdict = "met" if row["met"] else "MISSED"
        lines.append(
            f"{row['contestant']:34}{row['min']:9.2f}{row['median']:9.2f}{row['max']:9.2f}"
            f"   ≤ {row['limit']} {unit}: {verdict}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
