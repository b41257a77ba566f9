"""``wsgi-sessions``: what each command prints, and its exit codes."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from command_line import A_SECRET, NOBODY_LISTENS, assert_refused, run

import wsgi_sessions
from wsgi_sessions import texts
from wsgi_sessions.cli.output import Progress, print_columns, printable
from wsgi_sessions.health.checker import fingerprint
from wsgi_sessions.identity import IdSigner, store_key
from wsgi_sessions.listening import Address, listen
from wsgi_sessions.stack.config import SETTINGS
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from pathlib import Path


def test_version() -> None:
    assert wsgi_sessions.__version__ in run("--version").stdout


@pytest.mark.parametrize("command", [["wsgi-sessions"], [sys.executable, "-m", "wsgi_sessions"]])
def test_is_started_by_its_name_and_as_a_module(command: list[str]) -> None:
    if len(command) == 1:
        command = [os.path.join(os.path.dirname(sys.executable), *command)]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: wsgi-sessions ")
    for name in ("demo", "keygen", "config", "sweep"):
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)
    assert "..." not in done.stdout.replace("[ARGS]...", ""), "each has a line to itself"


def test_only_the_demonstration_needs_gunicorn() -> None:
    code = "import sys, wsgi_sessions.cli; print('gunicorn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("arguments", [["nothing"], ["keygen", "more"], ["sweep", "--hard"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


# -- keygen ----------------------------------------------------------------------------------------


def test_keygen_prints_a_new_secret_each_time() -> None:
    secrets = {run("keygen").stdout.strip() for _ in range(3)}
    assert len(secrets) == 3
    IdSigner(sorted(secrets))  # accepted as they are


# -- config ----------------------------------------------------------------------------------------


def test_config_prints_each_value_and_its_source() -> None:
    result = run("config", WSGI_SESSIONS_URL="redis://example/0", WSGI_SESSIONS_TIMEOUT="500ms")
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert lines.keys() == {setting.env for setting in SETTINGS.values()}
    assert lines["WSGI_SESSIONS_URL"] == ["redis://example/0", "WSGI_SESSIONS_URL"]
    assert lines["WSGI_SESSIONS_TIMEOUT"] == ["500ms", "WSGI_SESSIONS_TIMEOUT"]
    assert lines["WSGI_SESSIONS_FSYNC"] == ["none", "default"]


def test_config_as_json_tells_the_same() -> None:
    rows = json.loads(run("config", "--json", SECRET_KEY=A_SECRET).stdout)
    assert len(rows) == len(SETTINGS)
    (secrets,) = [row for row in rows if row["env"] == "WSGI_SESSIONS_SECRET_KEYS"]
    assert secrets["source"] == "SECRET_KEY"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_config_hides_secrets(options: list[str]) -> None:
    output = run(
        "config",
        *options,
        WSGI_SESSIONS_URL=NOBODY_LISTENS,
        WSGI_SESSIONS_SECRET_KEYS=A_SECRET,
    ).stdout
    assert A_SECRET not in output
    assert "a-password" not in output


@pytest.mark.parametrize("command", ["config", "sweep", "check"])
def test_a_wrong_setting_is_named(command: str) -> None:
    result = run(command, WSGI_SESSIONS_FSYNC="sometimes")
    assert_refused(result, 2, "WSGI_SESSIONS_FSYNC", "sometimes", "none, data, full")


# -- sweep -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file store with two expired sessions and a live one."""
    store = open_backend(f"file://{tmp_path}/store").sessions
    for name, age in (("a", 10), ("b", 20), ("c", -3600)):
        store.create(store_key(name), b"payload", time.time() - age)
    return tmp_path / "store"


def test_sweep_removes_what_has_expired_and_says_so(folder: Path) -> None:
    url = f"file://{folder}"
    first, second = (run("sweep", WSGI_SESSIONS_URL=url) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith("removed 2 expired")
    assert second.stdout.startswith("removed 0 expired")
    assert open_backend(url).iteration.count() == 1


def test_sweep_as_json(folder: Path) -> None:
    result = run(
        "sweep",
        "--json",
        WSGI_SESSIONS_URL=f"file://{folder}",
        WSGI_SESSIONS_MAX_SESSIONS="5",
    )
    report = json.loads(result.stdout)
    assert (report["store"], report["expired"], report["live"]) == ("file", 2, 1)


def test_sweep_of_a_store_that_is_down_is_a_fault() -> None:
    result = run("sweep", WSGI_SESSIONS_URL=NOBODY_LISTENS)
    assert_refused(result, 1, "127.0.0.1:1")
    assert "a-password" not in result.stderr


# -- check -----------------------------------------------------------------------------------------


def test_check_of_a_store_that_is_well(tmp_path: Path) -> None:
    variables = {"WSGI_SESSIONS_URL": f"file://{tmp_path}/s", "WSGI_SESSIONS_SECRET_KEYS": A_SECRET}
    shown = run("check", **variables)
    assert shown.exit_code == 0
    assert shown.stdout.startswith("file: healthy\n")
    for word in ("latency_ms", "free_percent", fingerprint(A_SECRET)):
        assert word in shown.stdout
    assert A_SECRET not in shown.stdout
    result = run("check", "--json", **variables)
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["backend"], report["healthy"]) == ("file", True)
    assert not (tmp_path / "s" / "secret").exists()


def test_check_of_a_store_that_is_down() -> None:
    shown = run("check", WSGI_SESSIONS_URL=NOBODY_LISTENS)
    assert shown.exit_code == 1
    assert shown.stdout.startswith("redis: not healthy\n")
    assert "127.0.0.1:1" in shown.stdout
    assert "a-password" not in shown.stdout
    result = run("check", "--json", WSGI_SESSIONS_URL=NOBODY_LISTENS)
    assert (result.exit_code, json.loads(result.stdout)["healthy"]) == (1, False)


# -- demo: what it refuses before it starts anything -----------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bind", "here"], ["'here'", "127.0.0.1:8000"]),
        (["--bind", "127.0.0.1:65536"], ["127.0.0.1:65536"]),
        (["--bind", "127.0.0.1:\uff11"], ["127.0.0.1:"]),
        (["--store", "ftp://example"], ["ftp", "redis://"]),
        (["--store", "memory://"], ["memory://", "--workers 1"]),
    ],
)
def test_demo_refuses_what_cannot_work(options: list[str], words: list[str]) -> None:
    assert_refused(run("demo", *options), 2, *words)


def test_demo_refuses_a_store_that_is_down() -> None:
    assert_refused(run("demo", "--store", NOBODY_LISTENS), 1, "127.0.0.1:1")


def test_demo_refuses_a_busy_port() -> None:
    with listen(Address("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert_refused(run("demo", "--bind", address), 1, address, "in use", "--bind")


@pytest.mark.parametrize(
    ("package", "options"), [("gunicorn", []), ("gevent", ["--worker-class", "gevent"])]
)
def test_demo_says_how_to_install_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, package: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert_refused(run("demo", *options), 2, f"-m pip install {package}")


# -- looking at sessions: what is wrong with the question ------------------------------------------


A_COOKIE = "gRFrMKUSCPBGpyPAGcyHSIu2y-cKLDLEAiYXwHoLdB0"


@pytest.mark.parametrize("command", [["show"], ["revoke"], ["revoke", "--all-but"]])
@pytest.mark.parametrize("given", [A_COOKIE, "abc", "a" * 65, "../../etc/passwd"])
def test_invalid_keys_are_refused_and_not_repeated(command: list[str], given: str) -> None:
    result = run(*command, given, WSGI_SESSIONS_URL=NOBODY_LISTENS)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "hexadecimal digits" in result.stderr
    assert given not in result.stderr


def test_a_key_that_several_sessions_begin_with(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/s"
    store = open_backend(url).sessions
    for last in "12":
        store.create("ab" * 31 + "a" + last, b"\x01damaged", time.time() + 60)
    result = run("show", "abab", WSGI_SESSIONS_URL=url)
    assert_refused(result, 1, "several", "abab", "more")
    assert_refused(run("show", "cdcd", WSGI_SESSIONS_URL=url), 1, "no live session", "cdcd")
    damaged = run("show", "ABAB" + "ab" * 29 + "a1", WSGI_SESSIONS_URL=url)
    assert_refused(damaged, 1, "corrupt", "abababab")


@pytest.mark.parametrize(
    "arguments",
    [
        ["revoke"],
        ["revoke", "abcd", "--principal", "alice"],
        ["contexts", "prune"],
        ["contexts", "prune", "--still-valid", "no_such_module:f"],
        ["purge", "--older-than", "yesterday"],
        ["purge", "--older-than", "0s"],
        ["list", "--limit", "0"],
        ["list", "--sort", "colour"],
        ["list", "--user", "alice"],
        ["list", "--older-than", "yesterday"],
        ["list", "--larger-than", "much"],
    ],
)
def test_a_question_without_sense(arguments: list[str], tmp_path: Path) -> None:
    result = run(*arguments, WSGI_SESSIONS_URL=f"file://{tmp_path}/s")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


STORE_COMMANDS = [
    ["count"],
    ["list"],
    ["list", "--principal", "alice"],
    ["show", "abcd"],
    ["leases"],
    ["revoke", "abcd"],
    ["revoke", "--principal", "alice"],
    ["sweep"],
    ["purge"],
    ["reindex"],
    ["contexts", "show", "alice"],
    ["contexts", "clear", "alice"],
    ["contexts", "prune", "--older-than", "1d"],
]


@pytest.mark.parametrize("command", STORE_COMMANDS, ids=" ".join)
def test_a_store_that_is_down_or_cannot_be_seen(command: list[str]) -> None:
    down = run(*command, "--url", NOBODY_LISTENS, WSGI_SESSIONS_URL="memory://")
    assert_refused(down, 1, "127.0.0.1:1")
    assert "a-password" not in down.stderr
    assert_refused(run(*command, WSGI_SESSIONS_URL="memory://"), 2, "memory://", "--url")


# -- on a terminal ---------------------------------------------------------------------------------


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere() -> None:
    for stream, seconds, expected in (
        (Screen(), 0.2, "\r\x1b[Kread: 1 of 4 (25 %)\r\x1b[Kread: 2 of 4 (50 %)\r\x1b[K"),
        (io.StringIO(), 11.0, "read: 1 of 4 (25 %)\nread: 2 of 4 (50 %)\n"),
    ):
        now = itertools.count(0.0, seconds)
        with Progress("read", total=4, stream=stream, clock=lambda now=now: next(now)) as progress:  # type: ignore[misc]
            progress(1)
            progress(2)
        assert stream.getvalue() == expected


def test_work_that_is_soon_done_tells_no_progress() -> None:
    for stream in (Screen(), io.StringIO()):
        with Progress("read", stream=stream, clock=lambda: 1.0) as progress:
            for number in range(1000):
                progress(number)
        assert stream.getvalue() == ""


def test_terminal_escape_sequences_are_escaped() -> None:
    assert printable("a\x1b[31m\r\n\u202eé") == r"a\x1b[31m\r\n\u202eé"


def test_a_long_cell_makes_no_other_row_longer(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns([["key", "value"], ["k" * 9000, "x"], ["short", "y"]])
    widths = [len(line) for line in capsys.readouterr().out.splitlines()]
    assert widths == [texts.WORD + 7, 9003, texts.WORD + 3]


@pytest.mark.parametrize(("answer", "ended"), [("y", 1), ("n", 0)])
def test_revoke_asks_on_a_terminal(tmp_path: Path, answer: str, ended: int) -> None:
    url = f"file://{tmp_path}/s"
    sessions = open_backend(url).sessions
    sessions.create("ab" * 32, b"payload", time.time() + 60)
    shown, exit_code = on_terminal(["revoke", "abab"], answer + "\n", WSGI_SESSIONS_URL=url)
    assert "End session ababababab? [y/N]: " in shown
    assert exit_code == 1 - ended
    assert (sessions.load("ab" * 32) is None) == bool(ended)


def on_terminal(arguments: list[str], typed: str, **environ: str) -> tuple[str, int]:
    """What is shown, and the exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "wsgi_sessions", *arguments]
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, env={**os.environ, **environ}, **ends) as process:  # type: ignore[call-overload]
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        with suppress(OSError):  # EIO: it has ended
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    return shown.decode(), process.returncode
