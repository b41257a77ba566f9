"""``wsgi-sessions top``: the console's numbers in a terminal, printed once, or as JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from answering import serving
from command_line import A_SECRET, NOBODY_LISTENS, assert_refused, run
from console_operator import HOSTILE, Operator
from overlapping import Sessions
from rich.console import Console

from wsgi_sessions import open_backend
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.console.numbers.collected import TITLES, collect
from wsgi_sessions.console.terminal.frame import Frame
from wsgi_sessions.endings import EndTrace
from wsgi_sessions.identity import new_id, short_key, store_key
from wsgi_sessions.metrics.catalogue import CONFLICTS
from wsgi_sessions.testing import StoreFaults

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.contract import Backend

URL = "WSGI_SESSIONS_URL"
SECRETS = {"WSGI_SESSIONS_SECRET_KEYS": A_SECRET}


def fill(backend: Backend) -> str:
    """Some sessions, one of them large and busy, and ends of some more; the id of that one."""
    sessions = Sessions(backend)
    busy = sessions.login(sessions.new(text="x" * 5000), "ada@example.org")
    for route in ("POST /cart", f"GET /{HOSTILE}", "POST /cart"):
        transaction = sessions.begin(busy, route)
        transaction.session[route] = 4111
        transaction.commit()
    for n in range(2):
        sessions.new(n=n)
    assert backend.endings is not None
    ends = [EndTrace(store_key(new_id()), "superseded", wall_clock() - 60) for _ in range(1234)]
    backend.endings.keep(ends, 1e6)
    return busy


@pytest.fixture
def url(tmp_path: Path) -> str:
    found = f"file://{tmp_path}/s"
    backend = open_backend(found)
    fill(backend)
    backend.close()
    return found


def drawn(backend: Backend, width: int, **more: Any) -> list[str]:
    """The lines of one frame."""
    output = StringIO()
    console = Console(file=output, width=width, **more)
    view = Operator(backend).view
    console.print(Frame(collect(view), view.clock()))
    return output.getvalue().splitlines()


# -- printed once ----------------------------------------------------------------------------------


def test_once_prints_the_numbers_of_the_page(url: str) -> None:
    result = run("top", "--once", WSGI_SESSIONS_URL=url, COLUMNS="100", **SECRETS)
    assert result.exit_code == 0, result.output
    page = Operator(open_backend(url))
    assert "Live sessions 3 " in page.panel("live")
    assert re.search(r"^Live sessions\n3$", result.stdout, re.MULTILINE)
    assert re.search(r"^superseded +1,\d{3} +1,\d{3} +1,\d{3} ", result.stdout, re.MULTILINE)
    assert all(f"{title}\n" in result.stdout for title in TITLES.values())


def test_nothing_is_printed_that_a_terminal_obeys_or_that_opens_a_session(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/s"
    backend = open_backend(url)
    session_id = fill(backend)
    key = store_key(session_id)
    for option in ("--once", "--json"):
        printed = run("top", option, WSGI_SESSIONS_URL=url, COLUMNS="200", **SECRETS).output
        assert short_key(key) in printed
        for secret in (session_id, key, "4111", "ada@", A_SECRET, "\x1b", "\u202e"):
            assert secret not in printed
    assert "<script>" in run("top", "--once", WSGI_SESSIONS_URL=url, COLUMNS="200").stdout


@pytest.mark.parametrize("width", [40, 50, 80, 128, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width: int) -> None:
    backend = open_backend("memory://")
    fill(backend)
    lines = drawn(backend, width)
    assert max(map(len, lines)) <= width
    told = "\n".join(lines)
    assert len(re.findall(r"1,\d{3}", told)) >= 3, "the ends of a minute, a day and all"
    assert all(f"  {head}" in told for head in ("hour", "day", "all kept", "commits"))
    assert ("24 hours" in told) == (width >= 80), "left out rather than cut: its end is the present"
    assert "superseded" in told
    if width >= 50:
        assert re.search(r"5,\d{3}\b", told)


def test_without_colours_nothing_is_said_by_colour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    backend = open_backend("memory://")
    fill(backend)
    told = "\n".join(drawn(backend, 80, force_terminal=True))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", told)
    assert "Answers." in told
    with StoreFaults(backend).fail():
        told = "\n".join(drawn(backend, 80))
    assert "Not healthy: the test made the store fail" in told
    assert told.count("Not asked: the store does not answer.") == len(TITLES) - 1


def test_a_terminal_without_utf_8_gets_ascii() -> None:
    backend = open_backend("memory://")
    fill(backend)
    view = Operator(backend).view
    console = Console(file=StringIO(), width=80)
    options = console.options.update()
    options.encoding = "ascii"
    segments = console.render(Frame(collect(view), view.clock()), options)
    assert "".join(segment.text for segment in segments).isascii()


# -- for programs ----------------------------------------------------------------------------------


def test_a_program_gets_numbers(url: str) -> None:
    result = run("top", "--json", WSGI_SESSIONS_URL=url, **SECRETS)
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told.keys() == {"at", *TITLES}
    assert told["store"]["healthy"] is True
    assert told["live"]["basis"] == {"read": 3, "total": 3, "is_all": True, "unreadable": 0}
    (ended,) = told["ends"]["by_reason"]
    assert ended["why"] == "superseded"
    assert 1000 < ended["kept"] < 1500
    assert told["heavy"]["largest"][0]["size"] > 5000


def test_conflicts_by_key_come_from_the_metrics_of_a_server(url: str) -> None:
    def metrics(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        name = CONFLICTS.full_name
        return [f'{name}{{key="step",kind="overwritten"}} 1234\n'.encode()]

    with serving(metrics) as server:
        environ = {"WSGI_SESSIONS_URL": url, "COLUMNS": "80", **SECRETS}
        told = run("top", "--once", "--metrics", f"{server}/metrics", **environ).stdout
    assert re.search(r"^step +overwritten +1,234  append, increment or exc", told, re.MULTILINE)
    told = run("top", "--once", "--metrics", f"{server}/metrics", **environ).stdout
    assert "the server's metrics cannot be read" in told


# -- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--url", "memory://"], 2, ["visible only to their own process"]),
        (["--url", NOBODY_LISTENS, "--once"], 1, ["127.0.0.1:1"]),
        (["--url", NOBODY_LISTENS, "--metrics", "file:///x"], 2, ["not a URL of metrics"]),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments: list[str], code: int, words: list[str]) -> None:
    assert_refused(run("top", *arguments), code, *words)


def test_without_a_terminal_it_says_how_to_print(url: str) -> None:
    assert_refused(run("top", WSGI_SESSIONS_URL=url), 2, "not a terminal", "--once", "--json")


def test_without_the_extra_it_says_what_to_install(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rich" else found(name)
    )
    assert_refused(run("top", WSGI_SESSIONS_URL=url), 2, "rich is not installed", "pip install")
    assert run("top", "--json", WSGI_SESSIONS_URL=url, **SECRETS).exit_code == 0


# -- in a terminal ---------------------------------------------------------------------------------


class TopInATerminal:
    """The command in a terminal of its own, of 80 characters."""

    def __init__(self, url: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        environ = {**os.environ, **SECRETS, URL: url, "TERM": "xterm", "NO_COLOR": "1"}
        command = [sys.executable, "-m", "wsgi_sessions", "top"]
        streams = [(os.POSIX_SPAWN_DUP2, self.theirs, number) for number in (0, 1, 2)]
        self.pid = os.posix_spawn(sys.executable, command, environ, file_actions=streams)
        self.shown = ""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.ours], [], [], 1)[0]:
                self.shown += os.read(self.ours, 65536).decode()

    def ended(self) -> int:
        """The exit code, once the terminal is as it was."""
        self.until("\x1b[?1049l")
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert termios.tcgetattr(self.theirs) == self.before
        os.close(self.ours)
        os.close(self.theirs)
        return code


def test_q_ends_it_and_leaves_the_terminal_as_it_was(url: str) -> None:
    screen = TopInATerminal(url)
    screen.until("more lines")
    assert "q quits  every 5 s" in screen.shown
    os.write(screen.ours, b"xq")
    assert screen.ended() == 0


@pytest.mark.soak
def test_a_signal_ends_it_as_well_and_a_resize_draws_it_anew(url: str) -> None:
    screen = TopInATerminal(url)
    screen.until("more lines")
    screen.shown = ""
    os.kill(screen.pid, signal.SIGWINCH)
    screen.until("more lines")
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.ended() == 0
