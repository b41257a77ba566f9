"""The health check: what it finds, what it tells, and how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from bodies import SHAPES, as_empty_generator, as_file, as_list, as_tuple
from health_asked import LIVE, PATH, ask, never_called
from msgspec.structs import replace
from redis_servers import RedisServer, available
from requirements_of_tests import require
from wsgi_client import environ_of

from wsgi_sessions.contract import Backend, Record
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.errors import (
    ConfigurationError,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    VersionConflict,
)
from wsgi_sessions.health.checker import HealthChecker, check, examine, fingerprint
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.identity import store_key
from wsgi_sessions.stack.build import build
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stores.file.disk import diagnosis as file_diagnosis
from wsgi_sessions.stores.file.disk.diagnosis import FileDiagnosis
from wsgi_sessions.stores.file.disk.mounts import mount_of
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEPS = ["write", "read", "compare_and_set", "delete"]
SLACK = 6.0  # seconds: for a busy machine


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["memory", "file", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    url = {"memory": "memory://", "file": f"file://{tmp_path}/sessions"}.get(request.param)
    opened = open_backend(url or request.getfixturevalue("redis").url)
    yield opened
    opened.close()


# -- what is found -----------------------------------------------------------------------------


def test_a_store_that_is_well(backend: Backend) -> None:
    report = check(backend, timeout=10)
    assert (report.backend, report.healthy) == (backend.name, True), report
    assert list(report.details["latency_ms"]) == STEPS
    assert all(0 <= spent < 10_000 for spent in report.details["latency_ms"].values())
    assert report.details.get("warnings", []) == []
    assert backend.iteration.count() == 0, "the probe is gone"
    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()


def test_files_tell_of_their_file_system(tmp_path: Path) -> None:
    facts = check(open_backend(f"file://{tmp_path}/s"), timeout=10).details["store"]
    assert facts["file_system"] not in ("", "unknown")
    assert facts["free_bytes"] > 0
    assert 0 < facts["free_percent"] <= 100
    assert sorted(os.listdir(tmp_path / "s")) == ["FORMAT", "sessions"]
    assert os.listdir(tmp_path / "s" / "sessions") == []


def test_redis_tells_of_its_eviction_policy() -> None:
    require(available())
    options = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    with RedisServer(options=options) as server:
        backend = open_backend(server.url)
        report = check(backend, timeout=10)
        backend.close()
    assert report.healthy
    assert "maxmemory-policy is allkeys-lru" in report.details["warnings"][0]


def test_keys_are_compared_by_their_fingerprints() -> None:
    """The same for one key wherever it is asked, others for others."""
    first, second = "a" * 40, "b" * 40
    assert fingerprint(first) == fingerprint(first.encode()) == fingerprint(first)
    assert fingerprint(first) != fingerprint(second)
    assert len(fingerprint(first)) == 8
    shown = [fingerprint(first), fingerprint(second)]
    assert check(open_memory(), fingerprints=shown).details["keys"] == shown


class Broken:
    """A session store that breaks one promise."""

    def __init__(self, sessions: Any, how: str) -> None:
        self._sessions = sessions
        self._how = how

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        if self._how == "create fails":
            raise SessionExists(key)
        self._sessions.create(key, payload, expires_at)

    def load(self, key: str) -> Record | None:
        record: Record | None = self._sessions.load(key)
        if self._how == "load fails":
            raise StoreUnavailable("no answer for the test")
        if self._how == "load raises":
            raise ZeroDivisionError("4711-secret")
        if record is not None and self._how == "load changes":
            return replace(record, payload=record.payload + b"!")
        return None if self._how == "load loses" else record

    def save(self, key: str, payload: bytes, expires_at: float, *, expected_version: int) -> int:
        if self._how == "save fails":
            raise SessionGone(key)
        if self._how == "save blindly":
            try:
                return int(
                    self._sessions.save(key, payload, expires_at, expected_version=expected_version)
                )
            except VersionConflict as conflict:
                return int(
                    self._sessions.save(
                        key, payload, expires_at, expected_version=conflict.current.version
                    )
                )
        if self._how == "save does nothing" and expected_version == 1:
            if self._sessions.load(key).payload == payload:
                raise VersionConflict(self._sessions.load(key))
            return 2
        return int(self._sessions.save(key, payload, expires_at, expected_version=expected_version))

    def delete(self, key: str) -> None:
        if self._how != "delete does nothing":
            self._sessions.delete(key)


def broken(how: str) -> Backend:
    memory = open_memory()
    sessions: Any = Broken(memory.sessions, how)
    return Backend("memory", sessions, memory.iteration, memory.index, memory.locks)


@pytest.mark.parametrize(
    "how",
    [
        "create fails",
        "load fails",
        "load raises",
        "load changes",
        "load loses",
        "save fails",
        "save blindly",
        "save does nothing",
        "delete does nothing",
    ],
)
def test_a_store_that_breaks_a_promise_is_not_healthy(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert check(broken("nothing")).healthy
    report = check(broken(how))
    assert not report.healthy
    assert report.details["error"]
    assert "4711" not in json.dumps(report.as_dict())


def test_the_probe_is_neither_a_session_nor_damage() -> None:
    """Left behind, it is adopted by nobody, and set aside by nobody."""
    backend = broken("delete does nothing")
    examine(backend)
    (key,) = backend.iteration.keys()
    record = backend.sessions.load(key)
    assert record is not None
    assert record.expires_at <= time.time() + 60
    manager = SessionManager(backend)
    assert manager.loader.find(key) is None
    assert manager.events.counts() == {}


# -- how long it takes -------------------------------------------------------------------------


class Hung:
    """A store in which every operation waits until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.released = threading.Event()

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        self.calls += 1
        self.released.wait(30)
        raise StoreUnavailable("let go")


@pytest.fixture
def hung() -> Iterator[tuple[Hung, Backend]]:
    sessions, memory = Hung(), open_memory()
    yield sessions, Backend("file", sessions, memory.iteration, memory.index, memory.locks)  # type: ignore[arg-type]
    sessions.released.set()


def test_a_store_that_hangs_is_given_up_on(hung: tuple[Hung, Backend]) -> None:
    started = time.monotonic()
    report = check(hung[1], timeout=0.1)
    assert time.monotonic() - started < SLACK
    assert not report.healthy
    assert "0.1 s" in report.details["error"]


def test_all_callers_share_one_check(hung: tuple[Hung, Backend]) -> None:
    sessions, backend = hung
    checker = HealthChecker(backend, timeout=0.05)
    reports = [checker.check() for _ in range(5)]
    assert not any(report.healthy for report in reports)
    assert sessions.calls == 1
    sessions.released.set()
    now = [0.0]
    patient = HealthChecker(backend, timeout=10, clock=lambda: now[0])
    for now[0], calls in ((5.0, 2), (5.999, 2), (6.0, 3), (6.5, 3), (99.0, 4)):
        assert patient.check().details["error"] == "let go"
        assert sessions.calls == calls, now


def test_a_forked_worker_does_not_wait_for_its_parents_check(
    hung: tuple[Hung, Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, backend = hung
    checker = HealthChecker(backend, timeout=0.05)
    checker.check()
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child
    checker.check()
    assert sessions.calls == 2


def test_a_forked_worker_does_not_tell_what_its_parent_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checker = HealthChecker(open_memory(), timeout=10, clock=lambda: 0.0)
    before = checker.check()
    assert checker.check() is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert checker.check() is not before


def test_a_thread_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    checker = HealthChecker(open_memory())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert "can't start" in checker.check().details["error"]
    assert checker.check().healthy


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_redis_that_is_killed_or_hangs(how: str) -> None:
    require(available())
    with RedisServer() as server:
        backend = open_backend(server.url, timeout=30)
        app = HealthMiddleware(never_called, backend, timeout=0.3, clock=count().__next__)
        assert ask(app, PATH).status == 200
        getattr(server, how)()
        started = time.monotonic()
        try:
            response = ask(app, PATH)
            alive = ask(app, LIVE)
        finally:
            if how == "pause":
                server.resume()
        assert time.monotonic() - started < SLACK
        assert response.status == 503
        assert json.loads(response.body)["healthy"] is False
        assert alive.status == 200
        if how == "pause":
            report = wait_for_health(app)
            assert report["healthy"]
        backend.close()


def wait_for_health(app: Any) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while True:
        report: dict[str, Any] = json.loads(ask(app, PATH).body)
        if report["healthy"] or time.monotonic() > deadline:
            return report


# -- files that cannot be used -----------------------------------------------------------------


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    backend = open_backend(f"file://{tmp_path}/s")
    (tmp_path / "s").rename(tmp_path / "t")
    report = check(backend, timeout=10)
    assert not report.healthy
    assert "is gone or not mounted" in report.details["error"]


@pytest.fixture
def open_folder() -> Iterator[str]:
    """A folder that everybody may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder


def test_a_folder_that_cannot_be_written(open_folder: str) -> None:
    """By a process that lost its rights after it had opened the store."""
    program = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from itertools import count
from health_asked import never_called, ask, PATH
from wsgi_sessions import HealthMiddleware, open_backend
backend = open_backend("file://{open_folder}/s")
app = HealthMiddleware(never_called, backend, timeout=20, clock=count().__next__)
print(ask(app, PATH).status)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
else:
    for folder, _, _ in os.walk("{open_folder}/s"):
        os.chmod(folder, 0o500)
response = ask(app, PATH)
print(response.status, response.body.decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    well, ill = done.stdout.splitlines()[:2]
    assert well == "200"
    assert ill.startswith("503 ")
    assert "Permission denied" in ill


def test_locks_that_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(f"file://{tmp_path}/s")
    monkeypatch.setattr(file_diagnosis, "try_lock", lambda fd: True)
    report = check(backend, timeout=10)
    assert not report.healthy
    assert "locks have no effect" in report.details["error"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/sessions", "ext4"),
        ("/srv", "ext4"),
        ("/srv2", "overlay"),
        ("/srv/my data/x", "nfs4"),
        ("/srv/covered/x", "tmpfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:2 / / rw - overlay overlay rw\n"
        "22 21 0:3 / /srv rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "23 22 0:4 / /srv/my\\040data rw - nfs4 host:/x rw\n"
        "24 22 0:5 / /srv/covered rw - xfs /dev/sdb rw\n"
        "25 24 0:6 / /srv/covered rw - tmpfs tmpfs rw\n"
    )
    assert mount_of(path, str(mounts)).kind == kind
    assert mount_of(path, str(tmp_path / "nothing")).kind == "unknown"
    facts = FileDiagnosis(str(tmp_path), str(tmp_path / "nothing")).facts()
    assert facts["file_system"] == "unknown"


# -- the middleware ----------------------------------------------------------------------------


def test_the_answer_is_json_that_no_cache_keeps(backend: Backend) -> None:
    app = HealthMiddleware(never_called, backend, timeout=10, fingerprints=["0a1b2c3d"])
    response = ask(app, PATH)
    assert response.status == 200
    assert response.header("Content-Type") == "application/json"
    assert response.header("Cache-Control") == "no-store"
    found = json.loads(response.body)
    assert list(found) == ["backend", "healthy", "details"]
    assert (found["backend"], found["healthy"]) == (backend.name, True)
    assert found["details"]["keys"] == ["0a1b2c3d"]


def test_no_secret_is_shown(tmp_path: Path) -> None:
    secret = "s" * 40
    backend = open_backend(f"file://{tmp_path}/s")
    backend.sessions.create(store_key("A" * 40), b"payload", time.time() + 100)
    body = ask(
        HealthMiddleware(never_called, backend, fingerprints=[fingerprint(secret)]), PATH
    ).body.decode()
    for word in (secret, store_key("A" * 40)[:10], "payload"):
        assert word not in body


TOKEN = "t" * 43
FORWARDED = [
    *("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO"),
    *("HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_CF_CONNECTING_IP", "HTTP_TRUE_CLIENT_IP"),
]


def sees_details(app: Any, **more: Any) -> bool:
    response = ask(app, PATH, **more)
    found = json.loads(response.body)
    expected = {"backend": "memory", "healthy": response.status == 200}
    details = found.pop("details", None)
    assert found == expected
    return details is not None


@pytest.mark.parametrize("store", ["nothing", "load fails"])
def test_strangers_see_healthy_or_not_alone(store: str) -> None:
    app = HealthMiddleware(never_called, broken(store), timeout=10, fingerprints=["0a1b2c3d"])
    for local in ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"):
        assert sees_details(app, REMOTE_ADDR=local)
        for header in FORWARDED:
            assert not sees_details(app, REMOTE_ADDR=local, **{header: "127.0.0.1"})
            assert not sees_details(app, REMOTE_ADDR=local, **{header: ""})
    for stranger in ("192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "fe80::1", "", "localhost", "@"):
        assert not sees_details(app, REMOTE_ADDR=stranger)


@pytest.mark.parametrize("remote", ["127.0.0.1", "192.0.2.1"])
@pytest.mark.parametrize("details", ["local", "token", "all"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_setting_decides_who_sees_details(details: Any, token: str | None, remote: str) -> None:
    if (details, token) == ("token", None):
        with pytest.raises(ConfigurationError, match=r"`health\.token`"):
            HealthMiddleware(never_called, open_memory(), details=details, token=token)
        return
    app = HealthMiddleware(never_called, open_memory(), timeout=10, details=details, token=token)
    anyway = details == "all" or (details == "local" and remote == "127.0.0.1")
    for header, right in [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN}", True),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer None", False),
        ("Bearer \xe4\u20ac", False),
        ("", False),
    ]:
        has_token = right and token is not None
        shown = sees_details(app, REMOTE_ADDR=remote, HTTP_AUTHORIZATION=header)
        assert shown == (anyway or has_token), header
    # Through a proxy too.
    proxied = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    with_token = {**proxied, "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
    assert sees_details(app, **proxied) == (details == "all")
    assert sees_details(app, **with_token) == (details == "all" or token is not None)


def test_the_settings_reach_the_application() -> None:
    """And a token is shown nowhere."""
    environ = {
        "WSGI_SESSIONS_URL": "memory://",
        "WSGI_SESSIONS_SECRET_KEYS": "s" * 40,
        "WSGI_SESSIONS_HEALTH_DETAILS": "token",
        "WSGI_SESSIONS_HEALTH_TOKEN": TOKEN,
    }
    config = Config.from_environ(environ)
    assert TOKEN not in repr(config)
    stack = build(never_called, config)
    assert not sees_details(stack)
    assert sees_details(stack, REMOTE_ADDR="192.0.2.1", HTTP_AUTHORIZATION=f"Bearer {TOKEN}")
    stack.close()
    for wrong in ("short", "s" * 40 + "\n" + "t" * 40, "ä" * 40):
        with pytest.raises(ConfigurationError) as caught:
            Config.from_environ({**environ, "WSGI_SESSIONS_HEALTH_TOKEN": wrong})
        assert wrong not in str(caught.value)
    del environ["WSGI_SESSIONS_HEALTH_TOKEN"]
    with pytest.raises(ConfigurationError, match="needs WSGI_SESSIONS_HEALTH_TOKEN"):
        Config.from_environ(environ)


def test_many_callers_make_one_probe(tmp_path: Path) -> None:
    """Whoever they are, and by whatever method."""
    now = [0.0]
    backend = open_backend(f"file://{tmp_path}/s")
    app = HealthMiddleware(never_called, backend, timeout=10, clock=lambda: now[0])
    first = ask(app, PATH).body
    for number in range(50):
        ask(app, PATH, "HEAD", REMOTE_ADDR=f"192.0.2.{number}")
        assert ask(app, PATH).body == first, "with the same latencies"
    now[0] = 1.0
    assert ask(app, PATH).body != first


def test_an_unhealthy_store_is_a_503_that_no_cache_keeps() -> None:
    response = ask(HealthMiddleware(never_called, broken("load fails")), PATH)
    assert response.status == 503
    assert response.header("Cache-Control") == "no-store"
    assert json.loads(response.body) == {
        "backend": "memory",
        "healthy": False,
        "details": {"error": "no answer for the test", "scheme": "http"},
    }


def test_liveness_never_touches_the_store(hung: tuple[Hung, Backend]) -> None:
    app = HealthMiddleware(never_called, hung[1], timeout=0.01)
    response = ask(app, LIVE)
    assert (response.status, json.loads(response.body)) == (200, {"alive": True})
    assert response.header("Cache-Control") == "no-store"
    assert hung[0].calls == 0


@pytest.mark.parametrize("path", [PATH, LIVE])
def test_only_looking_is_allowed(path: str) -> None:
    app = HealthMiddleware(never_called, open_memory(), timeout=10)
    head, get = ask(app, path, "HEAD"), ask(app, path)
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("Content-Length") or 0) > 0
    assert get.header("Content-Length") == str(len(get.body))
    refused = ask(app, path, "POST")
    assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("settings", "answered"),
    [
        ({}, {PATH, LIVE}),
        ({"path": "/api/health/session"}, {"/api/health/session", LIVE}),
        ({"path": None}, {LIVE}),
        ({"liveness": None}, {PATH}),
        ({"path": None, "liveness": None}, set()),
    ],
)
def test_paths_are_configurable(settings: dict[str, Any], answered: set[str]) -> None:
    app = HealthMiddleware(as_list, open_memory(), **settings)
    for path in (PATH, LIVE, "/api/health/session", "/", "", f"{PATH}/", f"{PATH}x"):
        assert (ask(app, path).header("Cache-Control") is not None) == (path in answered), path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_shape_of_response_is_valid_inside_and_outside(shape: Any, method: str) -> None:
    @validator
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi_sessions.session"] = {}
        return shape(environ, start_response)

    response = ask(HealthMiddleware(app, open_memory()), "/", method)
    assert response.status == 200
    assert response.body == (b"" if shape is as_empty_generator else b"body")


@pytest.mark.parametrize("shape", [as_list, as_tuple, as_file])
def test_lists_and_files_stay_what_they_are(shape: Callable[..., Any]) -> None:
    environ = environ_of("/")
    body: Any = HealthMiddleware(shape, open_memory())(environ, lambda *_: lambda _: None)
    plain: Any = shape(environ, lambda *_: lambda _: None)
    assert type(body) is type(plain)
    for each in (body, plain):
        if hasattr(each, "close"):
            each.close()


def test_each_probe_has_a_key_of_its_own(tmp_path: Path) -> None:
    """Workers that are asked at one moment do not meet."""
    backend = open_backend(f"file://{tmp_path}/s")
    reports: list[bool] = []
    threads = [
        threading.Thread(target=lambda: reports.append(examine(backend).healthy)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reports == [True] * 8
