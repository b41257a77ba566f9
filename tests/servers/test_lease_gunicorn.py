"""Leases and the refresher in real workers, which are killed, stopped and left by their clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import refresh_app
from gunicorn_server import COOKIE, SECRET, GunicornServer, HttpBrowser, WorkerClass, store_of
from redis_servers import wait_until
from spreads import classes_by_default

from wsgi_sessions import SessionManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend, LeaseStore

OTHERS = [pytest.param(name, marks=pytest.mark.soak) for name in ("redis", "sqlite", "postgresql")]
STORES = ("file", *OTHERS)
INTERVAL = 1.0
LONG = 60.0


class Workers:
    """A gunicorn with `refresh_app`, the calls of its hook, and its store seen from outside."""

    def __init__(self, store: str, url: str | None, folder: Path, **more: Any) -> None:
        self.store = store
        self._calls = folder / "calls"
        self._calls.touch()
        worker_class: WorkerClass = more.pop("worker_class", "gthread")
        self.environ = {
            "WSGI_SESSIONS_KEY_PREFIX": f"{folder.name}:",
            "WSGI_SESSIONS_REFRESH": "refresh_app:refresh",
            "WSGI_SESSIONS_REFRESH_INTERVAL": f"{INTERVAL}s",
            refresh_app.CALLS: str(self._calls),
            **more,
        }
        self.server = GunicornServer(
            worker_class=worker_class, url=url, environ=self.environ, app="refresh_app:create()"
        )
        prefix = self.environ["WSGI_SESSIONS_KEY_PREFIX"]
        self.backend: Backend = store_of(self.server.url, prefix)

    @property
    def leases(self) -> LeaseStore:
        assert self.backend.leases is not None
        return self.backend.leases

    def start(self, name: str = "a") -> HttpBrowser:
        """A session that is kept alive."""
        browser = self.server.browser()
        assert browser.get("/start", name=name).status == 200
        return browser

    def facts(self, name: str) -> list[dict[str, Any]]:
        """What was noted so far, of those that have this fact."""
        facts = [json.loads(line) for line in self._calls.read_text().splitlines()]
        return [fact for fact in facts if name in fact]

    def calls(self, name: str = "a") -> list[dict[str, Any]]:
        """The calls of the hook for this session."""
        return [fact for fact in self.facts("begun") if fact["name"] == name]

    def wait_for_calls(self, number: int, name: str = "a") -> None:
        wait_until(lambda: len(self.calls(name)) >= number, f"{number} refreshes of {name}", 20)

    def close(self) -> None:
        self.server.stop()
        self.backend.close()


@pytest.fixture(params=STORES)
def store(
    request: pytest.FixtureRequest, store_url: Callable[[str], str | None]
) -> tuple[str, str | None]:
    return request.param, store_url(request.param)


@contextmanager
def working(store: tuple[str, str | None], folder: Path, **more: Any) -> Iterator[Workers]:
    with closing(Workers(*store, folder, **more)) as workers:
        yield workers
        log = workers.server.log()
        if not more.get("may_fail"):
            assert "Traceback" not in log, log


# -- once per interval ---------------------------------------------------------------------------


@pytest.mark.parametrize("worker_class", classes_by_default("gthread"))
def test_three_workers_refresh_each_session_once_per_interval_and_none_in_use(
    store: tuple[str, str | None], tmp_path: Path, worker_class: WorkerClass
) -> None:
    with working(store, tmp_path, worker_class=worker_class) as workers:
        names = [f"free {number}" for number in range(5)]
        for name in names:
            workers.start(name)
        busy = workers.start("busy")
        in_use = workers.server.begin(busy, "/work")
        used = len(workers.calls("busy"))
        for name in names:
            workers.wait_for_calls(4, name)
        assert len(workers.calls("busy")) == used
        assert in_use.finish().json["seen"] == 0
        workers.wait_for_calls(used + 1, "busy")
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fact in workers.facts("begun"):
        by_name[fact["name"]].append(fact)
    for name in names:
        calls = sorted(by_name[name], key=lambda call: float(call["begun"]))
        for before, after in pairwise(calls):
            assert after["begun"] >= before["ended"], name  # never two at once
            # Due an interval after it was stored, a tenth of jitter and a look at the queue later.
            assert after["begun"] - before["ended"] >= INTERVAL * 0.95, name
            assert after["begun"] - before["ended"] < INTERVAL * 3, name
    assert len({call["pid"] for calls in by_name.values() for call in calls}) > 1


@pytest.mark.soak
def test_all_changes_of_the_hook_are_stored_and_move_no_lifetime(
    store: tuple[str, str | None], tmp_path: Path
) -> None:
    with working(store, tmp_path) as workers:
        browser = workers.start()
        before = browser.get("/show").json["expires_at"]
        workers.wait_for_calls(3)
        key = browser.key
        assert workers.backend.refreshes is not None
        manager = SessionManager(workers.backend)

        def is_stored() -> bool:
            snapshot = manager.loader.find(key)
            assert snapshot is not None
            return snapshot.version > 3

        wait_until(is_stored, "three refreshes to be stored")
        shown = browser.get("/show").json
        assert shown["refreshed"] in (len(workers.calls()), len(workers.calls()) - 1)
        assert shown["expires_at"] == pytest.approx(before, abs=0.01)


# -- every end of a request ----------------------------------------------------------------------


@contextmanager
def client_of_a_stream(browser: HttpBrowser, port: int, query: str = "") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        request = (
            f"GET /stream?{query} HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={browser.cookie}\r\n\r\n"
        )
        client.sendall(request.encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        yield client


@pytest.mark.parametrize(
    "end", ["client gone", pytest.param("generator raises", marks=pytest.mark.soak)]
)
def test_a_stream_releases_however_it_ends(
    store: tuple[str, str | None], tmp_path: Path, end: str
) -> None:
    with working(store, tmp_path, WSGI_SESSIONS_LEASE_TTL="1h", may_fail="1") as workers:
        browser = workers.start()
        workers.wait_for_calls(1)
        query = "raise=1" if end == "generator raises" else ""
        with client_of_a_stream(browser, workers.server.port, query) as client:
            if end == "client gone":
                wait_until(lambda: workers.leases.holders(browser.key) == 1, "the stream to hold")
                calls = len(workers.calls())
                time.sleep(2 * INTERVAL)
                assert len(workers.calls()) == calls
            else:
                while client.recv(65536):
                    pass
        wait_until(lambda: workers.leases.holders(browser.key) == 0, "the lease to be released")
        calls = len(workers.calls())
        workers.wait_for_calls(calls + 1)


def test_a_killed_worker_blocks_no_longer_than_the_ttl(
    store: tuple[str, str | None], tmp_path: Path
) -> None:
    """In files not even so long: there the ttl is an hour."""
    ttl = "1h" if store[0] == "file" else "3s"
    environ = {"WSGI_SESSIONS_LEASE_TTL": ttl, "WSGI_SESSIONS_REFRESH_INTERVAL": "1h"}
    with working(store, tmp_path, **environ) as workers:
        browser = workers.start()
        workers.wait_for_calls(1)
        workers.server.begin(browser, "/work")
        (worker,) = {fact["working"] for fact in workers.facts("working")}
        assert not workers.leases.claim(browser.key, "refresher", LONG)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in workers.server.workers(), "the worker to be dead")
        if store[0] != "file":
            assert not workers.leases.claim(browser.key, "refresher", LONG)
        wait_until(lambda: workers.leases.claim(browser.key, "refresher", LONG), "the claim", 10)


@pytest.mark.parametrize(
    "meanwhile", [pytest.param("refreshed", marks=pytest.mark.soak), "logged out"]
)
def test_a_worker_that_was_stopped_past_the_ttl_never_writes_blindly(
    store: tuple[str, str | None], tmp_path: Path, meanwhile: str
) -> None:
    with working(store, tmp_path, WSGI_SESSIONS_LEASE_TTL="1s") as workers:
        browser = workers.start()
        workers.wait_for_calls(1)
        request = workers.server.begin(browser, "/work", item="late")
        (worker,) = {fact["working"] for fact in workers.facts("working")}
        calls = len(workers.calls())
        os.kill(worker, signal.SIGSTOP)
        try:
            workers.wait_for_calls(calls + 1)  # by another worker, once the lease has ended
            if meanwhile == "logged out":
                SessionManager(workers.backend).destroy(browser.key)
        finally:
            os.kill(worker, signal.SIGCONT)
        request.finish()
        if meanwhile == "logged out":
            assert workers.backend.sessions.load(browser.key) is None
            return
        shown = browser.get("/show").json
        assert (shown["mine"], shown["visits"]) == ("late", 1)
        assert shown["refreshed"] >= calls
        assert workers.calls()[-1]["pid"] != worker or len(workers.calls()) > calls + 1


# -- a process of its own ------------------------------------------------------------------------


@contextmanager
def refresher_of(workers: Workers, *, hook: str | None = None) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **os.environ,
        **workers.environ,
        "WSGI_SESSIONS_URL": workers.server.url,
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
    }
    if hook is not None:
        environ["WSGI_SESSIONS_REFRESH"] = hook
    command = [sys.executable, "-m", "wsgi_sessions", "refresh"]
    with subprocess.Popen(
        command,
        env=environ,
        cwd=Path(__file__).parents[1] / "support",
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_of_its_own_refreshes_until_it_is_stopped(
    store: tuple[str, str | None], tmp_path: Path, number: signal.Signals
) -> None:
    with working(store, tmp_path, WSGI_SESSIONS_REFRESH_IN="process") as workers:
        free, busy = workers.start("free"), workers.start("busy")
        in_use = workers.server.begin(busy, "/work")
        assert free.get("/show").status == 200
        with refresher_of(workers) as process:
            workers.wait_for_calls(2, "free")
            assert {call["pid"] for call in workers.calls("free")} == {process.pid}
            assert workers.calls("busy") == []
            in_use.finish()
            workers.wait_for_calls(1, "busy")
            process.send_signal(number)
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""


@pytest.mark.soak
def test_a_process_of_its_own_may_be_there_before_the_first_session(
    store: tuple[str, str | None], tmp_path: Path
) -> None:
    """It is not told the application's name."""
    name, url = store[0], store[1] or f"file://{tmp_path}/sessions"
    environ = {
        **os.environ,
        "WSGI_SESSIONS_URL": url,
        "WSGI_SESSIONS_SECRET_KEYS": SECRET,
        "WSGI_SESSIONS_KEY_PREFIX": f"{tmp_path.name}:",
        "WSGI_SESSIONS_REFRESH": "refresh_app:refresh",
        "WSGI_SESSIONS_REFRESH_INTERVAL": f"{INTERVAL}s",
        refresh_app.CALLS: str(tmp_path / "calls"),
    }
    command = [sys.executable, "-m", "wsgi_sessions", "refresh"]
    cwd = Path(__file__).parents[1] / "support"
    with subprocess.Popen(command, env=environ, cwd=cwd) as process:
        try:
            running = f"/proc/{process.pid}/task"
            wait_until(lambda: len(os.listdir(running)) > 1, "the refresher's thread", 20)
            with working((name, url), tmp_path, WSGI_SESSIONS_REFRESH_IN="process") as workers:
                workers.start()
                workers.wait_for_calls(1)
                assert workers.calls()[0]["pid"] == process.pid
        finally:
            process.kill()


@pytest.mark.soak
def test_a_hook_that_hangs_does_not_keep_the_process(
    store: tuple[str, str | None], tmp_path: Path
) -> None:
    more = {"WSGI_SESSIONS_REFRESH_IN": "process", "REFRESH_APP_SECONDS": "600"}
    with working(store, tmp_path, **more) as workers:
        browser = workers.start()
        with refresher_of(workers) as process:
            wait_until(
                lambda: not workers.leases.acquire(browser.key, "probe", 0.001), "the claim", 15
            )
            process.terminate()
            assert process.wait(10) == 0
        assert workers.leases.acquire(browser.key, "request", LONG)  # it was released


@pytest.mark.parametrize("hook", ["off", "refresh_app:nothing"])
def test_a_process_without_a_hook_says_what_is_missing(tmp_path: Path, hook: str) -> None:
    environ = {
        **os.environ,
        "WSGI_SESSIONS_URL": f"file://{tmp_path}/sessions",
        "WSGI_SESSIONS_REFRESH": hook,
    }
    command = [sys.executable, "-m", "wsgi_sessions", "refresh"]
    result = subprocess.run(
        command,
        env=environ,
        cwd=Path(__file__).parents[1] / "support",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "WSGI_SESSIONS_REFRESH" in result.stderr
    assert "Traceback" not in result.stderr
