"""Faults as operators meet them, planted: what the named command or line says, and what to do.

`test_doctor.py` has more of them: an eviction policy, a folder of another user, workers with
different secrets, a cookie that browsers refuse, missing tables and keys.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from answering import serving
from command_line import A_SECRET, run
from documents import PAGES, rows
from redis_servers import RedisServer, available
from requirements_of_tests import require
from worlds import World

from wsgi_sessions import Config, open_backend, open_sessions
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.endings import REASONS, EndTrace
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.operations.server_check import WorkerReply, _of_schemes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from wsgi_sessions.endings import EndReason


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file store."""
    found = f"file://{tmp_path}/s"
    open_backend(found).close()
    return found


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as server:
        yield server


def check(url: str, *options: str, **environ: str) -> Result:
    secrets = {"WSGI_SESSIONS_SECRET_KEYS": A_SECRET}
    return run("check", *options, WSGI_SESSIONS_URL=url, **{**secrets, **environ})


def assert_told(result: Result, code: int, start: str, *words: str) -> None:
    """One line begins so, and has these words; the exit code is that of the worst finding."""
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(start)]
    for word in words:
        assert word in line, line


# -- the store -------------------------------------------------------------------------------------


def test_a_wrong_password(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "requirepass", "right")
    wrong = redis.url.replace("redis://", "redis://:guessed@").replace(
        "unix://", "unix://:guessed@"
    )
    result = check(wrong)
    assert_told(result, 1, "fault (store)", "user name or password", "correct them")
    assert "guessed" not in result.output
    assert "right" not in result.stdout


def test_a_redis_that_is_full(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    assert_told(check(redis.url), 1, "fault (store)", "maxmemory", "raise")


def full(*, inodes: bool) -> Any:
    """What `os.statvfs` says of a file system where one thing is used up."""
    free, free_inodes = (50, 0) if inodes else (0, 50)
    return lambda _: SimpleNamespace(
        f_frsize=4096, f_bavail=free, f_blocks=100, f_favail=free_inodes, f_files=100
    )


@pytest.mark.parametrize(
    ("inodes", "words"), [(False, "Free space on the session file system"), (True, "df -i")]
)
def test_a_full_disk(url: str, monkeypatch: pytest.MonkeyPatch, inodes: bool, words: str) -> None:
    opens = os.open

    def no_new_file(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT and "/s/" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        return opens(path, flags, *args, **more)

    monkeypatch.setattr(os, "statvfs", full(inodes=inodes))
    monkeypatch.setattr(os, "open", no_new_file)
    assert_told(check(url), 1, "fault (store)", words)


def test_a_flush_that_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fsync, the probe is flushed as a session is."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    assert check(url).exit_code == 0
    assert_told(check(url, WSGI_SESSIONS_FSYNC="full"), 1, "fault (store)", "Input/output error")


def test_contexts_that_cannot_be_read(redis: RedisServer) -> None:
    rights = ["~*", "&*", "+@all", "-hget", "-hmget", "-hgetall", "-mget"]
    redis.command("ACL", "SETUSER", "reader", "on", ">word", *rights)
    contexts = {
        "WSGI_SESSIONS_CONTEXT_KEY": "deal",
        "WSGI_SESSIONS_CONTEXT_PERMISSION": "os:fspath",
    }
    assert check(redis.url, **contexts).exit_code == 0
    reader = redis.url.replace("redis://", "redis://reader:word@")
    reader = reader.replace("unix://", "unix://reader:word@")
    result = check(reader, **contexts)
    assert result.exit_code == 1
    assert re.search(r"^fault \((contexts|rights)\): .*reader", result.stdout, re.MULTILINE)


# -- clocks, and the scheme ------------------------------------------------------------------------


def test_a_server_whose_clock_is_ten_minutes_ahead(url: str) -> None:
    health = HealthMiddleware(lambda *_: [], open_backend(url))

    def ahead(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            date = formatdate(time.time() + 600, usegmt=True)
            return start_response(status, [*headers, ("Date", date)], *exc_info)

        return health(environ, start)

    with serving(ahead) as server:
        result = check(url, "--server", server, "--strict")
    assert_told(result, 3, "warning (clock)", "ahead of this host's", "NTP")


@pytest.mark.parametrize(
    ("server", "seen", "words"),
    [
        ("https://shop.example.org", "http", "ProxyFix"),
        ("http://shop.example.org", "https", "X-Forwarded-Proto"),
        ("https://shop.example.org", "https", None),
        ("http://shop.example.org", "http", None),
        ("http://127.0.0.1:8000", "https", None),
        ("https://shop.example.org", "", None),  # it shows no details
    ],
)
def test_https_that_is_lost_on_the_way(server: str, seen: str, words: str | None) -> None:
    details = {"scheme": seen} if seen else {}
    answer = WorkerReply(server, {"backend": "file", "healthy": True, "details": details}, None)
    found = list(_of_schemes([answer, answer], Config(url="memory://", secret_keys=(A_SECRET,))))
    assert [finding.level for finding in found] == ([] if words is None else ["warning"])
    for finding in found:
        assert words is not None
        assert words in finding.text


def test_workers_tell_the_scheme_that_they_see(url: str) -> None:
    answers = []

    def secure(environ: Any, start_response: Any) -> Any:
        answers.append(environ)
        return health({**environ, "wsgi.url_scheme": "https"}, start_response)

    health = HealthMiddleware(lambda *_: [], open_backend(url))
    with serving(secure) as server:
        assert check(url, "--server", server).exit_code == 0
    sent: list[str] = []
    body = b"".join(secure({**answers[0]}, lambda status, _: sent.append(status)))
    assert json.loads(body)["details"]["scheme"] == "https"


# -- what sessions hold ----------------------------------------------------------------------------


def test_a_large_session(url: str) -> None:
    sessions = open_sessions(Config(url=url, secret_keys=(A_SECRET,)))
    transaction = sessions.begin()
    transaction.session.update(report=b"x" * 900 * 1024, name="Ann")
    transaction.session.login("ann")
    transaction.commit()
    key = str(transaction.session.key)
    sessions.close()
    told = ["under key report", key[:10], "WSGI_SESSIONS_MAX_SIZE", "--larger-than 524288"]
    assert_told(check(url), 0, "warning (sessions)", *told)
    assert check(url, "--strict").exit_code == 3
    listed = run("list", "--larger-than", "524288", "--sort", "size", WSGI_SESSIONS_URL=url)
    assert key[:10] in listed.stdout
    assert re.search(r"report +bytes +92\d{4}", run("show", key, WSGI_SESSIONS_URL=url).stdout)


def test_a_key_that_conflicts() -> None:
    """The line in the log names the key and both requests; the documents say what to do."""
    world = World()
    session_id = world.new(step=1)
    mine, theirs = (world.begin(session_id, f"POST /{name}") for name in ("pay", "ship"))
    for number, transaction in enumerate((mine, theirs), 2):
        transaction.session["step"] = number
    theirs.commit()
    mine.commit()
    (line,) = [str(event) for event in world.events if event.name == "conflict"]
    for word in ("path='step'", "route='POST /pay'", "POST /ship"):
        assert word in line
    events = dict(row[::2] for row in rows("event", PAGES["reference/events"]))
    assert "`increment`, `append` or `exclusive`" in events["`conflict`"]


@pytest.mark.parametrize("why", REASONS)
def test_logged_out_at_14_03(url: str, why: EndReason) -> None:
    """A person who knows the user and the time learns the reason, who, and on which route."""
    at = datetime.now(timezone.utc).replace(hour=14, minute=3) - timedelta(days=1)
    user, earlier = Pseudonyms(A_SECRET).of("ann"), at - timedelta(hours=5)
    route = None if why == "revoked" else "POST /pay"
    traces = [
        EndTrace(store_key(new_id()), why, at.timestamp(), by="whoever", route=route, user=user),
        EndTrace(store_key(new_id()), "logged-out", earlier.timestamp(), user=user),
    ]
    with closing(open_backend(url)) as backend:
        assert backend.endings is not None
        backend.endings.keep(traces, 1e6)
    environ = {"WSGI_SESSIONS_URL": url, "WSGI_SESSIONS_SECRET_KEYS": A_SECRET}
    when = f"{at:%Y-%m-%dT14:03}"
    told = run("explain", "--principal", "ann", "--at", when, **environ).stdout
    assert told.count("ended: ") == 1, told
    (line,) = [line for line in told.splitlines() if "ended: " in line]
    for words in (" 14:03:", f"ended: {why}", REASONS[why], "whoever", route or ""):
        assert words in line, line


# -- as a gate -------------------------------------------------------------------------------------


def test_a_workflow_gets_annotations(url: str) -> None:
    result = check(url, "--format", "github", WSGI_SESSIONS_TIMOUT="1s")
    assert result.exit_code == 0
    (warning,) = [line for line in result.stdout.splitlines() if line.startswith("::warning ")]
    assert warning.startswith("::warning title=wsgi-sessions check (settings)::unknown setting")
    assert "::notice title=wsgi-sessions check (advice)::" in result.stdout


def test_a_workflow_gets_an_error_for_settings_that_make_no_sense(url: str) -> None:
    settings = {"WSGI_SESSIONS_MIGRATE_FROM": url, "WSGI_SESSIONS_CHOICE_FOLDER": "/nowhere"}
    result = check(url, "--format", "github", **settings)
    assert result.exit_code == 2
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("::error ")]
    assert "WSGI_SESSIONS_MIGRATE_FROM" in line


def test_a_workflow_reads_a_text_of_several_lines(url: str) -> None:
    settings = {"WSGI_SESSIONS_TIMEOUT": "x%", "WSGI_SESSIONS_MAX_SIZE": "y"}
    result = check(url, "--format", "github", **settings)
    assert result.exit_code == 2
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("::error ")]
    assert "%0A" in line
    assert "x%25" in line


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"]])
def test_a_program_gets_json(url: str, option: list[str]) -> None:
    result = check(url, *option, WSGI_SESSIONS_TIMOUT="1s")
    assert result.stderr == ""
    assert [found["level"] for found in json.loads(result.stdout)["findings"]] == ["warning"]


@pytest.mark.parametrize(
    ("variable", "value", "topic"),
    [
        ("WSGI_SESSIONS_REFRESH", "nothing:here", "start"),
        ("WSGI_SESSIONS_ON_UNAVAILABLE", "nothing:here", "start"),
        ("WSGI_SESSIONS_MIGRATE_FROM", "redis://127.0.0.1:1/0", "store"),
        ("WSGI_SESSIONS_IMPORT_FROM", "flask-session+redis://127.0.0.1:1/0", "import"),
    ],
)
def test_everything_configured_is_tried(url: str, variable: str, value: str, topic: str) -> None:
    more = {"WSGI_SESSIONS_IMPORT_UNTIL": "2999-12-31"} if "IMPORT" in variable else {}
    assert_told(check(url, **{variable: value}, **more), 1, f"fault ({topic})")


def test_a_source_of_versions_that_does_not_answer_is_told(url: str) -> None:
    versions = {
        "WSGI_SESSIONS_VERSION_SCOPES": "global",
        "WSGI_SESSIONS_VERSION_URL": "redis://127.0.0.1:1/0",
        "WSGI_SESSIONS_VERSION_REFRESH": "os:fspath",
    }
    assert_told(check(url, **versions), 1, "fault (versions)", "127.0.0.1:1")
