"""Measure 3: what overlapping requests of one session lose, undo or bring back.

Under gunicorn with three gthread workers of eight threads. A burst is eight requests at once, each
of which reads its session, waits 20 ms and changes it.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from benchmarks.contestants.table import BY_NAME, present
from benchmarks.harness.load import ask_all, body_of, cookie_of, one, request_bytes
from benchmarks.harness.rounds import progress, spread
from benchmarks.harness.servers import Server, start_servers
from benchmarks.harness.targets import Verdict, at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchmarks.harness.places import Place

BURST = 8
HOLD = 20  # milliseconds
SLOW = 60
THREADS = 8
OVERLAPS = ("/key", "/append", "/increment")


class Browser:
    """One visitor's browser: keeps the last cookie that it was sent."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self.cookie: str | None = None
        self._keep(one(self._port, "/new"))

    def get(self, path: str) -> bytes:
        """One request; its body. Raises ValueError unless it is a 200."""
        reply = one(self._port, path, self.cookie)
        self._keep(reply)
        return body_of(reply)

    def begin(self, pool: ThreadPoolExecutor, path: str) -> Future[bytes]:
        """A request that goes on meanwhile."""
        return pool.submit(self.get, path)

    def burst(self, path: str) -> float:
        """Requests for different items, all at once; the seconds until the last one ended."""
        requests = [
            request_bytes(f"{path}?item={item}&hold={HOLD}", self.cookie) for item in range(BURST)
        ]
        began = time.perf_counter()
        replies = ask_all(self._port, requests, at_once=BURST)
        seconds = time.perf_counter() - began
        for reply in replies:
            self._keep(reply)
        return seconds

    def state(self, cookie: str | None = None) -> dict[str, Any]:
        """What the server has of this session."""
        found: dict[str, Any] = json.loads(
            body_of(one(self._port, "/state", cookie or self.cookie))
        )
        return found

    def _keep(self, reply: bytes) -> None:
        self.cookie = cookie_of(reply) or self.cookie


def run(place: Place, bursts: int, names: Iterable[str] | None = None) -> dict[str, Any]:
    """All of it, as JSON."""
    taking_part = [
        contestant
        for contestant in present(place)[0]
        if contestant.kind in ("ours", "peer") and (names is None or contestant.name in set(names))
    ]
    rows = {}
    with ExitStack() as stack:
        servers = start_servers(stack, taking_part, place, "gthread", THREADS)
        for name, server in servers.items():
            progress(f"lost updates: {name}")
            rows[name] = _row(server, bursts)
        progress("")
    return {
        "burst": BURST,
        "hold ms": HOLD,
        "contestants": rows,
        "targets": [verdict.as_json() for verdict in judge(rows)],
    }


def _row(server: Server, bursts: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    seconds = []
    for path in OVERLAPS:
        kept = 0
        for _ in range(bursts):
            browser = Browser(server)
            seconds.append(browser.burst(path))
            kept += _kept(path, browser.state())
        row[path] = {"sent": bursts * BURST, "lost": bursts * BURST - kept}
    row["slow reader"] = {"tries": bursts, "undone": _count(bursts, server, _undone)}
    row["log-out"] = {"tries": bursts, "brought back": _count(bursts, server, _brought_back)}
    row["burst ms"] = spread(one * 1000 for one in seconds)._asdict()
    return row


def _count(tries: int, server: Server, happened: Callable[[Server], bool]) -> int:
    return sum(happened(server) for _ in range(tries))


def _kept(path: str, state: Mapping[str, Any]) -> int:
    if path == "/key":
        return sum(f"key{item}" in state for item in range(BURST))
    if path == "/append":
        return len(set(state.get("items", ())))
    return int(state["n"])


def _undone(server: Server) -> bool:
    """A reader that takes long, and a write that begins and ends meanwhile."""
    browser = Browser(server)
    with ThreadPoolExecutor(1) as pool:
        reader = browser.begin(pool, f"/slow?hold={SLOW}")
        time.sleep(SLOW / 3000)
        browser.get("/key?item=1")
        reader.result()
    return "key1" not in browser.state()


def _brought_back(server: Server) -> bool:
    """A log-out, while another request is about to save; with the old cookie or a newer one."""
    browser = Browser(server)
    old = browser.cookie
    with ThreadPoolExecutor(1) as pool:
        late = browser.begin(pool, f"/key?item=1&hold={SLOW}")
        time.sleep(SLOW / 3000)
        browser.get("/logout")
        with suppress(ValueError):  # refused, which is one way to notice
            late.result()
    return any("user" in browser.state(cookie) for cookie in {old, browser.cookie})


def judge(rows: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """The claims, of all our stores."""
    verdicts = []
    for name, row in rows.items():
        if BY_NAME[name].kind != "ours":
            continue
        lost = sum(row[path]["lost"] for path in OVERLAPS)
        lost += row["slow reader"]["undone"] + row["log-out"]["brought back"]
        store = name.partition(", ")[2]
        verdicts.append(
            at_most(f"{store}: lost, undone, brought back", spread([lost]), 0, "changes")
        )
        burst = row["burst ms"]
        claim = f"{store}: a burst of {BURST} x {HOLD} ms"
        found = spread([burst["min"], burst["median"], burst["max"]])
        verdicts.append(at_most(claim, found, 45, "ms"))
    return verdicts


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """For people."""
    lines = [
        (
            f"{'lost of overlapping changes, %':46}{'keys':>7}{'list':>7}{'count':>7}"
            f"{'undone':>9}{'brought back':>14}{'burst ms':>10}"
        )
    ]
    for name, row in report["contestants"].items():
        shares = "".join(f"{share(row[path]):7.0f}" for path in OVERLAPS)
        slow, end = row["slow reader"], row["log-out"]
        lines.append(
            f"{name:46}{shares}{slow['undone']:>5} / {slow['tries']}"
            f"{end['brought back']:>10} / {end['tries']}{row['burst ms']['median']:10.0f}"
        )
    return lines


def share(row: Mapping[str, int]) -> float:
    """Lost, in percent."""
    return 100 * row["lost"] / row["sent"]
