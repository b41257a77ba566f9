"""Metrics: what is counted, over all processes of a server, and who gets the numbers."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scraped import Scrape, promtool
from wsgi_client import Browser

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.core.events import Event
from wsgi_sessions.errors import ConfigurationError, SessionConflict, StoreUnavailable
from wsgi_sessions.metrics import catalogue
from wsgi_sessions.metrics.catalogue import CATALOGUE
from wsgi_sessions.metrics.measured import measured
from wsgi_sessions.metrics.meter import ProcessMeter, SharedMeter
from wsgi_sessions.metrics.server_files import ServerFiles, ServerName
from wsgi_sessions.stores.breaker import CircuitOpen
from wsgi_sessions.stores.memory.backend import open_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.stack.build import Stack

TOKEN = "t" * 40


def application(environ: Any, start_response: Any) -> list[bytes]:
    session, path = get_session(environ), environ["PATH_INFO"]
    if path == "/add":
        session["n"] = session.get("n", 0) + 1
    elif path == "/look":
        session.get("n")
    elif path == "/block":
        with session.exclusive():
            session["n"] += 1
    elif path == "/out":
        session.flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def stack_in(folder: Path, **settings: str) -> Stack:
    given = {f"WSGI_SESSIONS_{name}": value for name, value in settings.items()}
    environ = {
        "WSGI_SESSIONS_URL": f"file://{folder}/sessions",
        "WSGI_SESSIONS_CHOICE_FOLDER": f"{folder}/run",
        "WSGI_SESSIONS_APPLICATION": "tests",
        "WSGI_SESSIONS_SWEEP_INTERVAL": "off",
        "WSGI_SESSIONS_METRICS_PATH": "/metrics",
    }
    return build(application, Config.from_environ({**environ, **given}))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    opened = stack_in(tmp_path)
    yield opened
    opened.close()


def scrape(app: Any) -> Scrape:
    response = Browser(app).get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert response.status == 200, response
    return Scrape(response.body.decode())


def in_child(work: Callable[[], object], *, end: Callable[[], object] = lambda: os._exit(0)) -> int:
    """Do it in a fork; how that ended."""
    child = os.fork()
    if not child:
        try:
            work()
            end()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


# -- what requests do --------------------------------------------------------------------------


def test_requests_are_counted_by_what_they_did(stack: Stack) -> None:
    browser = Browser(stack)
    for path in ("/none", "/look", "/add", "/add", "/look", "/block", "/none"):
        browser.get(path)
    found = scrape(stack)
    assert found.of("requests_total") == {"untouched": 2, "read": 2, "created": 1, "changed": 2}
    assert found.of("commits_total") == {"created": 1, "saved": 2}
    assert found("commit_attempts_count") == found("commit_attempts_sum") == 2
    assert found("stored_size_bytes_count") == 3
    assert found("lock_wait_duration_seconds_count", outcome="acquired") == 1
    calls = found.of("store_call_duration_seconds_count", outcome="ok")
    assert calls == {"create": 1, "save": 2, "load": 4}


def test_a_log_out_is_a_change_and_an_end(stack: Stack) -> None:
    browser = Browser(stack)
    browser.get("/add")
    browser.get("/out")
    found = scrape(stack)
    assert found.of("requests_total") == {"created": 1, "changed": 1}
    assert found.of("commits_total") == {"created": 1, "destroyed": 1}
    assert found.of("ends_total") == {"logged-out": 1}


def test_every_series_with_known_words_begins_at_zero(stack: Stack) -> None:
    """A rate over a series that begins at 1 misses its first event."""
    found = scrape(stack)
    for metric in CATALOGUE.values():
        for word in metric.words:
            name = metric.full_name.removeprefix("wsgi_sessions_")
            suffix = "_count" if metric.kind == "histogram" else ""
            assert found.samples[f"{name}{suffix}", frozenset({(metric.labels[0], word)})] == 0


def test_prometheus_finds_no_fault_in_any_metric(stack: Stack) -> None:
    meter = stack.manager.events.meter
    assert isinstance(meter, ProcessMeter)
    count_everything(meter)
    found = scrape(stack)
    families = {name for name, _ in found.samples}
    for metric in CATALOGUE.values():
        suffix = "_count" if metric.kind == "histogram" else ""
        assert f"{metric.full_name}{suffix}".removeprefix("wsgi_sessions_") in families
    assert promtool("check", "metrics", text=found.text) == ""


def count_everything(meter: ProcessMeter) -> None:
    meter.event(Event("conflict", None, {"path": 'a"\\key', "kind": "overwritten"}))
    meter.event(Event("unavailable", None, {"cause": "store-unavailable"}))
    meter.store_call("save conflict", 0.001)
    meter.saved(3, merged=True)
    meter.leased(["one", "two"])
    meter.counted(7)


def test_a_bad_name_would_be_found_by_promtool() -> None:
    assert "counter" in promtool("check", "metrics", text="# TYPE wrong counter\nwrong 1\n")


# -- all processes of a server -------------------------------------------------------------------


def test_forks_and_ended_processes_count(stack: Stack) -> None:
    browser = Browser(stack)
    browser.get("/add")
    for _ in range(3):
        assert in_child(lambda: browser.get("/add")) == 0
    assert scrape(stack).of("commits_total") == {"created": 1, "saved": 3}
    assert scrape(stack).of("commits_total") == {"created": 1, "saved": 3}, "summed only once"
    assert scrape(stack)("worker_processes") == 1


def test_a_killed_process_loses_nothing(stack: Stack, tmp_path: Path) -> None:
    ended = in_child(lambda: Browser(stack).get("/add"), end=kill_this_process)
    assert ended == signal.SIGKILL
    assert scrape(stack).of("requests_total") == {"created": 1}
    (folder,) = (tmp_path / "run" / "metrics").iterdir()
    assert len(list(folder.glob("*.cells"))) == 1, "that of the killed one was added, and is gone"


def test_an_added_file_that_stayed_is_not_added_again(stack: Stack, tmp_path: Path) -> None:
    """As after a kill between the two steps."""
    in_child(lambda: Browser(stack).get("/add"))
    (folder,) = (tmp_path / "run" / "metrics").iterdir()
    (left,) = folder.glob("*.cells")
    shutil.copy(left, tmp_path / "copy")
    assert scrape(stack).of("requests_total") == {"created": 1}
    shutil.copy(tmp_path / "copy", left)
    assert scrape(stack).of("requests_total") == {"created": 1}
    assert not left.exists()


def test_gauges_are_those_of_live_processes_and_readings_the_latest(tmp_path: Path) -> None:
    one, other = meter_of(tmp_path), meter_of(tmp_path)
    one.leased(["lease"])
    one.counted(10)

    def work() -> None:
        other.leased(["lease", "lease"])
        other.counted(11)

    in_child(work)
    assert value_of(one, catalogue.LEASES) == [1.0]
    assert value_of(one, catalogue.LIVE)[0] == 11.0
    one.counted(12)
    assert value_of(one, catalogue.LIVE)[0] == 12.0


def test_servers_that_ended_leave_nothing(tmp_path: Path) -> None:
    def begin_another() -> None:
        stack_in(tmp_path, APPLICATION="another")(*request())

    assert in_child(lambda: as_a_server_of_its_own(begin_another)) == 0
    (left,) = (tmp_path / "run" / "metrics").iterdir()
    stack = stack_in(tmp_path)
    scrape(stack)
    (mine,) = (tmp_path / "run" / "metrics").iterdir()
    assert mine != left


def request() -> tuple[Any, Any]:
    from wsgi_client import environ_of

    return environ_of("/add"), lambda *_: None


def as_a_server_of_its_own(work: Callable[[], object]) -> None:
    """In the child of a child: the server that it belongs to ends with the first."""
    assert in_child(work) == 0


class Numbered:
    """Processes by their number alone, which this test does not use twice."""

    def here(self) -> str:
        return f"{os.getpid()}-0"

    def is_alive(self, name: str) -> bool:
        return Path(f"/proc/{name.partition('-')[0]}").exists()


def meter_of(folder: Path, kind: type[ProcessMeter] = ProcessMeter) -> ProcessMeter:
    name = ServerName(1, f"{os.getpid()}-0", "tests")
    return kind(ServerFiles(lambda: f"{folder}/run/metrics", name, Numbered()))


def value_of(meter: ProcessMeter, metric: catalogue.Metric) -> list[float]:
    (values,) = (v for key, v in meter.totals().series.items() if key.metric == metric.name)
    return values


@pytest.mark.parametrize("kind", [ProcessMeter, SharedMeter])
def test_threads_that_count_at_the_same_time_lose_nothing(
    kind: type[ProcessMeter], tmp_path: Path
) -> None:
    """Switched as often as can be: a lost update would be seen."""
    meter, interval = meter_of(tmp_path, kind), sys.getswitchinterval()

    def work() -> None:
        for _ in range(20_000):
            meter.request("saved")
            meter.store_call("save ok", 0.001, 100)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(work) for _ in range(4)]:
                done.result()
    finally:
        sys.setswitchinterval(interval)
    assert labels_of(meter, catalogue.REQUESTS) == {("changed",): 80_000}
    assert value_of(meter, catalogue.SIZES)[-1] == 8_000_000


# -- faults ----------------------------------------------------------------------------------------


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is served, the scrape says so: a part of the sum would mislead."""
    stack = stack_in(tmp_path)
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run" / "metrics").mkdir()
    os.chmod(tmp_path / "run" / "metrics", stat.S_IRWXU | stat.S_IWOTH)
    assert Browser(stack).get("/add").status == 200
    assert Browser(stack).get("/metrics", REMOTE_ADDR="127.0.0.1").status == 503
    assert "does not belong to this user alone" in caplog.text


class FailingSessions:
    """A session store whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, key: str) -> None:
        raise self.error

    def ping(self) -> None: ...

    def close(self) -> None: ...


def test_the_outcome_of_store_calls_and_the_breaker(tmp_path: Path) -> None:
    meter, store = meter_of(tmp_path), FailingSessions(StoreUnavailable("no answer"))
    backend = open_memory()
    failing: Any = measured(replace_sessions(backend, store), meter).sessions
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            failing.load("k")
    assert value_of(meter, catalogue.BREAKER) == [0.0]
    store.error = not_asked()
    with pytest.raises(StoreUnavailable):
        failing.load("k")
    assert value_of(meter, catalogue.BREAKER) == [1.0]
    assert measured(backend, meter).sessions.load("k") is None
    assert value_of(meter, catalogue.BREAKER) == [0.0]
    calls = {k.labels: sum(v[:-1]) for k, v in meter.totals().series.items() if k.labels[:1]}
    assert calls["load", "unavailable"] == 2
    assert (calls["load", "not-asked"], calls["load", "absent"]) == (1, 1)


def replace_sessions(backend: Any, sessions: Any) -> Any:
    from dataclasses import replace

    return replace(backend, sessions=sessions)


def not_asked() -> StoreUnavailable:
    error = StoreUnavailable("not asked")
    error.__cause__ = CircuitOpen("three in a row")
    return error


def test_failed_commits_have_a_result(tmp_path: Path) -> None:
    meter = meter_of(tmp_path)
    for error in (SessionConflict(()), StoreUnavailable("no"), ValueError("no")):
        meter.commit_failed(error)
    series = meter.totals().series
    found = {k.labels[0] for k, v in series.items() if k.metric == "commits" and v[0]}
    assert found == {"conflict", "unavailable", "refused"}


# -- events ----------------------------------------------------------------------------------------


def labels_of(meter: ProcessMeter, metric: catalogue.Metric) -> dict[tuple[str, ...], float]:
    series = meter.totals().series.items()
    return {k.labels: v[0] for k, v in series if k.metric == metric.name and v[0]}


def test_ends_and_refusals_are_counted_by_reason(tmp_path: Path) -> None:
    meter = meter_of(tmp_path)
    meter.event(Event("ended", "key", {"why": "revoked", "by": "a command"}))
    meter.event(Event("ended", "key", {"why": "for reasons of its own"}))
    meter.event(Event("refused", None, {"why": "signature", "more": 41}))
    assert labels_of(meter, catalogue.ENDS) == {("revoked",): 1, ("other",): 1}
    assert labels_of(meter, catalogue.REFUSED) == {("signature",): 1, ("unexplained",): 41}
    assert labels_of(meter, catalogue.EVENTS) == {("ended",): 2, ("refused",): 1}


def test_a_client_cannot_make_any_number_of_series(tmp_path: Path) -> None:
    """Keys of a session may be its choice; each series stays for the life of the server."""
    meter = meter_of(tmp_path)
    for number in range(catalogue.KEYS + 30):
        meter.event(Event("conflict", None, {"path": f"key{number}", "kind": "overwritten"}))
    found = labels_of(meter, catalogue.CONFLICTS)
    assert len(found) == catalogue.KEYS + 1
    assert found["other", "overwritten"] == 30


def test_without_room_for_a_series_nothing_breaks(tmp_path: Path) -> None:
    meter = meter_of(tmp_path)
    for number in range(3000):
        meter.store_call(f"operation-{number} ok", 0.1)
    meter.request("created")
    assert labels_of(meter, catalogue.REQUESTS) == {("created",): 1}


# -- who gets them ---------------------------------------------------------------------------------


def test_strangers_get_none(stack: Stack) -> None:
    browser = Browser(stack)
    assert browser.get("/metrics", REMOTE_ADDR="10.0.0.1").status == 403
    assert browser.get("/metrics").status == 403
    forwarded = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1"}
    assert browser.get("/metrics", **forwarded).status == 403
    assert browser.get("/metrics", method="POST", REMOTE_ADDR="127.0.0.1").status == 405


def test_the_token_opens_them(tmp_path: Path) -> None:
    stack = stack_in(tmp_path, METRICS_READERS="token", HEALTH_TOKEN=TOKEN)
    browser = Browser(stack)
    assert browser.get("/metrics", REMOTE_ADDR="127.0.0.1").status == 403
    sent = {"REMOTE_ADDR": "10.0.0.1", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
    assert browser.get("/metrics", **sent).status == 200
    with pytest.raises(ConfigurationError, match=r"METRICS_READERS=token needs WSGI_.*_TOKEN"):
        stack_in(tmp_path, METRICS_READERS="token")


def test_the_answer_is_of_the_format_that_is_asked_for(stack: Stack) -> None:
    browser, local = Browser(stack), {"REMOTE_ADDR": "127.0.0.1"}
    plain = browser.get("/metrics", **local)
    assert str(plain.header("Content-Type")).startswith("text/plain")
    assert plain.header("Cache-Control") == "no-store"
    accept = {"HTTP_ACCEPT": "application/openmetrics-text; version=1.0.0"}
    other = browser.get("/metrics", **local, **accept)
    assert str(other.header("Content-Type")).startswith("application/openmetrics-text")
    assert other.body.endswith(b"# EOF\n")


def test_metrics_are_off_unless_asked_for(tmp_path: Path) -> None:
    stack = stack_in(tmp_path, METRICS_PATH="off")
    assert Browser(stack).get("/metrics", REMOTE_ADDR="127.0.0.1").body == b"ok"
    assert stack.manager.events.meter is None
    assert type(stack.manager.backend.sessions).__name__ == "FileStore"
    assert not (tmp_path / "run").exists()
