"""The documents' programs, run: the examples on their pages."""

from __future__ import annotations

import ast
import doctest
import json
import sqlite3
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from documents import PAGES, README, SITE, blocks, codes, rows
from wsgi_client import Browser

from wsgi_sessions import Config, Event, Session, build, check, from_env, get_session, open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from _typeshed.wsgi import StartResponse, WSGIEnvironment


# -- programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", blocks("python", README + SITE))
def test_programs_compile(program: str) -> None:
    compile(program, "documents", "exec")


# -- what a session does ---------------------------------------------------------------------------


class Handlers:
    """An application on the memory store that runs what it is given, with the session."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        config = Config(url="memory://", secret_keys=("a-secret-of-the-tests-with-32-bytes",))
        self._stack = build(self._app, config, on_event=self.events.append)

    def browser(self) -> Browser:
        return Browser(self._stack)

    @staticmethod
    def _app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["handler"](get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []


def ask(browser: Browser, handler: Callable[[Session], object]) -> None:
    assert browser.get("/", handler=handler).status == 200


def test_maintenance_does_what_the_example_shows(tmp_path: Path) -> None:
    example = blocks("pycon", PAGES["reference/commands"])[0].replace("/var/lib", str(tmp_path))
    (tmp_path / "app").mkdir()
    output: list[str] = []
    parsed = doctest.DocTestParser().get_doctest(example, {}, "maintenance", "commands.md", 0)
    result = doctest.DocTestRunner(verbose=False).run(parsed, out=output.append)
    assert (result.failed, result.attempted) == (0, 4), "".join(output)


@pytest.mark.parametrize("has_session", [False, True])
def test_the_session_does_what_the_example_shows(has_session: bool) -> None:
    example = blocks("pycon", PAGES["reference/session"])[0]
    browser = Handlers().browser()
    output: list[str] = []
    results: list[doctest.TestResults] = []
    if has_session:
        ask(browser, lambda session: session.update(before=True))

    def run(session: Session) -> None:
        parsed = doctest.DocTestParser().get_doctest(
            example, {"session": session}, "session", "session.md", 0
        )
        results.append(doctest.DocTestRunner(verbose=False).run(parsed, out=output.append))

    ask(browser, run)
    assert results[0].attempted > 8
    assert results[0].failed == 0, "".join(output)


REPORTS = ("conflict", "gone", "superseded")


@pytest.mark.parametrize("row", rows("stored before"), ids=lambda row: row[1])
def test_changes_are_merged_as_the_table_says(row: list[str]) -> None:
    before, mine, theirs = (codes(cell)[0] for cell in row[:3])
    stored = codes(row[3])
    expected = ast.literal_eval(stored.pop(0)) if stored[0].startswith("{") else {}

    handlers = Handlers()
    browser, other = handlers.browser(), handlers.browser()
    # With one more key: an empty session would not be stored, and then no two requests share it.
    ask(browser, lambda s: s.update({"more": 0, **ast.literal_eval(before)}))
    other.cookies.update(browser.cookies)

    def overlapped(s: Session) -> None:
        assert len(s) > 0  # has read it
        ask(other, lambda s: exec(theirs, {"s": s}))
        exec(mine, {"s": s})

    ask(browser, overlapped)
    found: dict[str, Any] = {}
    ask(other, found.update)  # with the new id, where there is one
    found.pop("more", None)
    assert found == expected
    reported = [event.name for event in handlers.events if event.name in REPORTS]
    assert reported == stored


# -- around the session ----------------------------------------------------------------------------

AROUND = "".join(
    PAGES[f"howto/{name}"]
    for name in ("version-stamps", "contexts", "background-refresh", "wire-by-hand")
)


def own_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ.get("handler", len)(get_session(environ))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []


class Around:
    """What the pages' programs are about: a database, and the file of their hooks."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.hooks = ModuleType("hooks")
        self.hooks.__dict__["app"] = own_app
        self.stacks: list[Any] = []

    def run(self, number: int) -> Browser:
        """Run one of the programs; a browser at the application that it makes."""
        exec(blocks("python", AROUND)[number], self.hooks.__dict__)
        return self.at(self.hooks.__dict__["application"])

    def at(self, stack: Any) -> Browser:
        self.stacks.append(stack)
        return Browser(stack)

    def load_results(self) -> None:
        connection = sqlite3.connect(self.database)
        try:
            self.hooks.__dict__["load_results"](connection)
        finally:
            connection.close()


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Around]:
    database = tmp_path / "app.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY, points INTEGER)")
    connection.execute(
        "CREATE TABLE system_settings (key TEXT PRIMARY KEY, value TEXT, description TEXT,"
        " created_at TEXT, updated_at TEXT)"
    )
    connection.commit()
    connection.close()
    monkeypatch.setenv("WSGI_SESSIONS_URL", "memory://")
    monkeypatch.setenv("WSGI_SESSIONS_SECRET_KEYS", "a-secret-of-the-tests-with-32-bytes")
    monkeypatch.setenv("WSGI_SESSIONS_VERSION_URL", f"sqlite:///{database}")
    monkeypatch.setenv("WSGI_SESSIONS_VERSION_TABLE", "system_settings")
    monkeypatch.setenv("WSGI_SESSIONS_VERSION_MAX_AGE", "0")
    monkeypatch.setenv("WSGI_SESSIONS_REFRESH_INTERVAL", "1s")
    made = Around(database)
    monkeypatch.setitem(sys.modules, "hooks", made.hooks)
    yield made
    for stack in made.stacks:
        stack.close()


def visit(browser: Browser, handler: Callable[[Session], object], accept: str = "*/*") -> None:
    assert browser.get("/", handler=handler, HTTP_ACCEPT=accept).status == 200


def assert_is_made_anew(browser: Browser, around: Around) -> None:
    found: dict[str, Any] = {}
    visit(browser, lambda session: session.login("alice"))
    visit(browser, lambda session: session.update(name="old", league_id=5, cart=["tea"]))
    visit(browser, found.update, "text/html")
    assert found["name"] == "old"
    around.load_results()
    visit(browser, found.update)
    assert found["name"] == "old", "a background call was refreshed"
    visit(browser, found.update, "text/html")
    assert found["name"] == "alice"
    assert found["cart"] == ["tea"]


def assert_is_put_back(browser: Browser, _around: Around) -> None:
    visit(browser, lambda session: session.login("alice"))
    visit(browser, lambda session: session.update(current_deal_id=12))
    visit(browser, lambda session: session.flush())
    visit(browser, lambda session: session.login("alice"))
    found: dict[str, Any] = {}
    visit(browser, found.update)
    assert found["current_deal_id"] == 12


def assert_is_refreshed(browser: Browser, _around: Around) -> None:
    visit(browser, lambda session: session.update(user="alice"))
    visit(browser, lambda session: session.keep_alive())
    tokens: list[str] = []
    deadline = time.monotonic() + 30
    while not any(tokens) and time.monotonic() < deadline:
        time.sleep(0.05)
        visit(browser, lambda session: tokens.append(session.get("token", "")))
    assert tokens[-1] == "token 1"


def test_the_program_of_version_stamps_does_what_it_says(around: Around) -> None:
    assert_is_made_anew(around.run(0), around)


def test_the_program_of_contexts_does_what_it_says(around: Around) -> None:
    browser = around.run(1)
    assert_is_put_back(browser, around)
    answers: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        open_deal = around.hooks.__dict__["open_deal"]
        answers.extend(open_deal(environ, deal) for deal in (12, 13, 14))
        return own_app(environ, start_response)

    around.hooks.__dict__["app"] = app
    again = around.run(1)
    again.get("/", handler=lambda session: session.login("alice"))
    answers.clear()
    again.get("/")
    assert answers == ["allowed", "denied", "gone"]


def test_the_program_of_refreshes_does_what_it_says(around: Around) -> None:
    assert_is_refreshed(around.run(2), around)


@pytest.mark.parametrize(
    "works",
    [assert_is_made_anew, assert_is_put_back, assert_is_refreshed],
    ids=lambda f: f.__name__,
)
def test_hooks_may_be_named_in_the_environment(
    around: Around,
    monkeypatch: pytest.MonkeyPatch,
    works: Callable[[Browser, Around], None],
) -> None:
    for number in range(3):
        around.run(number)
    for line in blocks("sh", AROUND)[0].splitlines():
        name, _, value = line.partition("=")
        if name != "WSGI_SESSIONS_VERSION_URL":
            monkeypatch.setenv(name, value)
    browser = around.at(from_env(own_app))
    works(browser, around)


def test_the_health_answer_is_like_the_example(tmp_path: Path) -> None:
    (example,) = blocks("json", PAGES["howto/health"])
    backend = open_backend(f"file://{tmp_path / 'sessions'}")
    found = check(backend, fingerprints=["3f0a91c2"], place="7d1b02e6").as_dict()
    backend.close()
    scheme = {"scheme": "http"}  # of the request
    found = {**found, "details": {**found["details"], **scheme}}
    assert shape(json.loads(example)) == shape(found)


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value)


def test_the_program_of_a_job_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_SESSIONS_URL", f"file://{tmp_path}/sessions")
    (program,) = (block for block in blocks("python") if "open_sessions" in block)
    names: dict[str, Any] = {}
    exec(program, names)  # the page's own
    sessions = names["sessions"]
    try:
        transaction = sessions.begin()
        transaction.bind("alice")
        transaction.commit()
        names["tell"]("alice", "hello")
        with sessions.job(transaction.session.key) as session:
            assert session["news"] == ["hello"]
    finally:
        sessions.close()
