"""ContextMiddleware: remembered, restored, refused, and what each costs."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl
from wsgiref.validate import validator

import pytest
from bodies import SHAPES, AsObject, as_empty_generator, as_file, as_list, as_tuple
from wsgi_client import Browser, Response, call, environ_of

from wsgi_sessions import SessionMiddleware, get_session
from wsgi_sessions.contexts.audit import Audit, AuditRecord
from wsgi_sessions.contexts.middleware import (
    ContextMiddleware,
    explain_context,
    forget_context,
    select_context,
)
from wsgi_sessions.contexts.permissions import OwnerPermission, TenantPermission, as_verdict
from wsgi_sessions.contexts.policy import ApplicationContexts
from wsgi_sessions.contract import Context
from wsgi_sessions.core.endings.steps import steps_of
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.http.environ import get_transaction
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.stores.memory.contexts import MemoryContexts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contexts.permissions import Principal

    Page = Callable[[Any, dict[str, str]], object]

KEY = "current_deal_id"
NOW = 1_700_000_000.0
TEXT = [("Content-Type", "text/plain")]
UNAVAILABLE = StoreUnavailable("down for the test", operation="context")


class WatchedContexts(MemoryContexts):
    """A context store that counts its calls, and fails at those it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.failing: set[str] = set()

    def get(self, principal: str, name: str) -> Context | None:
        self._note("get")
        return super().get(principal, name)

    def set(self, principal: str, name: str, context: Context) -> None:
        self._note("set")
        super().set(principal, name, context)

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        self._note("clear")
        super().clear(principal, name, expected)

    def _note(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.failing:
            raise UNAVAILABLE


class Permission:
    """A permission hook that counts its calls."""

    def __init__(self) -> None:
        self.answer: Any = "allowed"
        self.asked: list[tuple[Principal, Any]] = []

    def __call__(self, principal: Principal, value: Any, environ: Any) -> Any:
        assert environ["wsgi.version"] == (1, 0)
        self.asked.append((principal, value))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Office:
    """An application that keeps a deal in its session, with all that there is to watch."""

    def __init__(self, *, principal_key: str | None = None, **settings: Any) -> None:
        self.events: list[Event] = []
        self.audit: list[AuditRecord] = []
        self.contexts = WatchedContexts()
        self.may_access = Permission()
        self.pages: dict[str, Page] = dict(PAGES)
        self.handlers: dict[str, Any] = {}
        self.backend = open_memory()
        events = Events(self.events.append)
        self.manager = SessionManager(self.backend, events=events, principal_key=principal_key)
        self.session_calls: Counter[str] = Counter()
        self._spy()
        self.middleware = ContextMiddleware(
            self._app,
            **{
                "contexts": self.contexts,
                "key": KEY,
                "may_access": self.may_access,
                "events": events,
                "audit": Audit(logged=True, hook=self.audit.append),
                "clock": lambda: NOW,
                **settings,
            },
        )
        cookie = SessionCookie(CookiePolicy(), IdSigner(["s" * 40]))
        self.app = SessionMiddleware(self.middleware, self.manager, cookie)

    def _app(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path in self.handlers:
            return self.handlers[path](environ, start_response)
        result = self.pages[path](environ, dict(parse_qsl(environ.get("QUERY_STRING", ""))))
        status = "500 Oops" if path.startswith("/500") else "200 OK"
        start_response(status, [*TEXT])
        return [repr(result).encode()]

    def _spy(self) -> None:
        sessions: Any = self.backend.sessions
        for name in ("create", "load", "save", "touch", "delete"):
            setattr(sessions, name, self._counted(name, getattr(sessions, name)))

    def _counted(self, name: str, operation: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            self.session_calls[name] += 1
            return operation(*args, **more)

        return counted

    def visit(self, user: str | None = None) -> OfficeVisitor:
        visitor = OfficeVisitor(self.app)
        if user is not None:
            visitor.go("/login", user=user)
        self.forget_calls()
        return visitor

    def forget_calls(self) -> None:
        for counted in (self.contexts.calls, self.session_calls, self.may_access.asked):
            counted.clear()
        self.events.clear()
        self.audit.clear()

    @property
    def queries(self) -> int:
        """Calls of the store and of the hook."""
        return self.contexts.calls.total() + len(self.may_access.asked)

    def remembered(self, user: str = "alice") -> Context | None:
        return MemoryContexts.get(self.contexts, user, KEY)

    def remember(self, deal: object, user: str = "alice") -> Context:
        context = Context(encode(deal), 5.0)
        MemoryContexts.set(self.contexts, user, KEY, context)
        return context

    def names(self) -> list[str]:
        return [event.name for event in self.events if event.name.startswith("context")]


class OfficeVisitor(Browser):
    """Asks for pages by their name."""

    def go(self, path: str, **query: object) -> str:
        response = self.ask(path, **query)
        assert response.status == 200, response
        return response.body.decode()

    def ask(self, path: str, **query: object) -> Response:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.get(path, QUERY_STRING=text)


PAGES: dict[str, Page] = {
    "/login": lambda environ, query: get_session(environ).login(query["user"]),
    "/logout": lambda environ, query: get_session(environ).flush(),
    "/anonymous": lambda environ, query: get_session(environ).update(n=1),
    "/untouched": lambda environ, query: None,
    "/deal": lambda environ, query: get_session(environ).get(KEY),
    "/all": lambda environ, query: dict(get_session(environ)),
    "/open": lambda environ, query: get_session(environ).update({KEY: int(query["deal"])}),
    "/500": lambda environ, query: get_session(environ).update({KEY: 99}),
    "/500-select": lambda environ, query: select_context(environ, 99),
    "/leave": lambda environ, query: get_session(environ).update({KEY: None}),
    "/drop": lambda environ, query: get_session(environ).pop(KEY, None),
    "/select": lambda environ, query: select_context(environ, int(query["deal"])),
    "/forget": lambda environ, query: forget_context(environ),
    "/explain": lambda environ, query: explain_context(environ),
}


@pytest.fixture
def office() -> Office:
    return Office()


# -- remembered and restored (C1, C2) ----------------------------------------------------------


def test_a_selected_context_is_back_after_the_session_was_lost(office: Office) -> None:
    visitor = office.visit("alice")
    assert visitor.go("/select", deal=7) == "'allowed'"
    assert office.remembered() == Context(encode(7), NOW)

    visitor.cookies.clear()
    visitor.go("/login", user="alice")
    assert visitor.go("/deal") == "7"


def test_each_principal_has_a_context_of_its_own(office: Office) -> None:
    office.remember(7, "alice")
    office.remember(8, "bob")
    assert office.visit("bob").go("/deal") == "8"
    assert office.visit("alice").go("/deal") == "7"
    assert office.visit("carol").go("/deal") == "None"


def test_a_principal_that_is_a_number(office: Office) -> None:
    office.pages["/login-5"] = lambda environ, query: get_session(environ).login(5)
    office.remember(7, "5")
    visitor = office.visit()
    visitor.go("/login-5")
    assert visitor.go("/deal") == "7"
    assert office.may_access.asked == [(5, 7)]


def test_an_application_that_names_its_principal_key() -> None:
    office = Office(principal_key="user_id")
    office.pages["/in"] = lambda environ, query: get_session(environ).update(user_id="alice")
    office.pages["/out"] = lambda environ, query: get_session(environ).clear()
    visitor = office.visit()
    visitor.go("/in")
    visitor.go("/open", deal=7)
    visitor.go("/out")
    assert visitor.go("/deal") == "None"
    visitor.go("/in")
    assert visitor.go("/deal") == "7"


def test_it_is_there_whatever_the_application_looks_at_first(office: Office) -> None:
    office.remember(7)
    office.pages["/in"] = lambda environ, query: KEY in get_session(environ)
    assert office.visit("alice").go("/in") == "True"
    assert office.visit("alice").go("/all") == f"{{'{KEY}': 7}}"

    def exclusively(environ: Any, query: Any) -> int:
        with get_session(environ).exclusive():
            get_session(environ)[KEY] += 1
        return int(get_session(environ)[KEY])

    office.pages["/exclusive"] = exclusively
    visitor = office.visit("alice")
    assert visitor.go("/exclusive") == "8"
    assert visitor.go("/deal") == "8"
    assert office.remembered() == Context(encode(8), NOW)


@pytest.mark.parametrize("how", ["access", "peek"])
def test_a_session_that_another_middleware_read_before(office: Office, how: str) -> None:
    office.remember(7)
    middleware: Any = office.app

    def early(environ: Any, start_response: Any) -> Any:
        transaction = get_transaction(environ)
        if how == "access":
            transaction.session.get("n")
        else:
            transaction.peek()
        return office.middleware(environ, start_response)

    visitor = office.visit("alice")
    middleware.app = early
    visitor.go("/untouched")
    assert office.queries == (2 if how == "access" else 0), "to peek is no access"
    assert visitor.go("/deal") == "7"


def test_a_restored_context_is_in_the_session_from_then_on(office: Office) -> None:
    office.remember(7)
    visitor = office.visit("alice")
    visitor.go("/deal")
    office.contexts.failing = {"get"}
    assert visitor.go("/deal") == "7"
    assert office.names() == ["context-restored"]
    (found,) = live_sessions(office.backend)
    assert [(step.what, step.about) for step in steps_of(found.envelope)] == [
        ("context-restored", KEY)
    ]


def test_a_context_of_any_kind_comes_back(office: Office) -> None:
    deal = {"id": 7, "path": ("a", 1), "seen": {1, 2}}
    office.pages["/open-it"] = lambda environ, query: get_session(environ).update({KEY: deal})
    office.visit("alice").go("/open-it")
    assert office.visit("alice").go("/deal") == repr(deal)


def test_a_context_that_is_changed_in_place_is_remembered_again(office: Office) -> None:
    office.remember({"id": 7})
    office.pages["/mutate"] = lambda environ, query: get_session(environ)[KEY].update(tab=2)
    visitor = office.visit("alice")
    visitor.go("/mutate")
    visitor.go("/mutate")
    assert office.remembered() == Context(encode({"id": 7, "tab": 2}), NOW)
    assert office.contexts.calls["set"] == 1


# -- what it costs (C12) -----------------------------------------------------------------------


def test_warm_it_leaves_before_any_call(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    office.forget_calls()
    assert visitor.go("/deal") == "7"
    assert office.queries == 0
    assert office.session_calls == {"load": 1}


@pytest.mark.parametrize("user", [None, "anonymous", "alice"])
def test_a_request_that_leaves_the_session_alone_is_free(office: Office, user: str | None) -> None:
    office.remember(7)
    visitor = office.visit("alice" if user == "alice" else None)
    if user == "anonymous":
        visitor.go("/anonymous")
        office.forget_calls()
    visitor.go("/untouched")
    assert (office.queries, office.session_calls.total()) == (0, 0)


def test_an_anonymous_visitor_costs_no_call(office: Office) -> None:
    visitor = office.visit()
    visitor.go("/deal")
    assert office.session_calls.total() == 0
    visitor.go("/anonymous")
    visitor.go("/deal")
    assert office.queries == 0


def test_cold_it_is_one_look_up_and_one_question(office: Office) -> None:
    office.remember(7)
    visitor = office.visit("alice")
    visitor.go("/deal")
    assert office.contexts.calls == {"get": 1}
    assert office.may_access.asked == [("alice", 7)]
    assert office.session_calls == {"load": 1, "save": 1}


def test_with_nothing_remembered_no_hook_is_asked(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/deal")
    assert office.contexts.calls == {"get": 1}
    assert office.queries == 1
    assert office.session_calls == {"load": 1}


def test_denied_it_is_one_more_to_forget(office: Office) -> None:
    office.remember(7)
    office.may_access.answer = "denied"
    office.visit("alice").go("/deal")
    assert office.contexts.calls == {"get": 1, "clear": 1}
    assert office.queries == 3


@pytest.mark.parametrize("is_cold", [True, False])
def test_a_selection_is_one_question_and_one_write(office: Office, is_cold: bool) -> None:
    office.remember(3)
    visitor = office.visit("alice")
    if not is_cold:
        visitor.go("/deal")
        office.forget_calls()
    visitor.go("/select", deal=7)
    assert office.contexts.calls == {"set": 1}
    assert office.may_access.asked == [("alice", 7)]


class Table:
    """The application's own users and deals, whose statements are counted."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        # One connection, since what it does is what is counted; the requests come one by one.
        self.connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.connection.executescript(
            """
            CREATE TABLE users (id TEXT PRIMARY KEY, tenant TEXT, last_deal INTEGER);
            CREATE TABLE deals (id INTEGER PRIMARY KEY, owner TEXT, tenant TEXT);
            INSERT INTO users VALUES ('alice', 'red', NULL), ('bob', 'blue', NULL);
            INSERT INTO deals VALUES (7, 'alice', 'red'), (8, 'alice', 'blue'), (9, 'bob', 'blue');
            """
        )
        self.connection.set_trace_callback(self.statements.append)

    def load(self, principal: Principal, key: str, environ: Any) -> Any:
        """With the deal's owner, by a join: what the permission wants to know is there then."""
        row = self.connection.execute(
            "SELECT u.last_deal, d.owner FROM users u LEFT JOIN deals d ON d.id = u.last_deal"
            " WHERE u.id = ?",
            (principal,),
        ).fetchone()
        environ["app.owner"] = row
        return row[0]

    def store(self, principal: Principal, key: str, value: Any, environ: Any) -> None:
        self.connection.execute("UPDATE users SET last_deal = ? WHERE id = ?", (value, principal))

    def owner_of(self, value: Any, environ: Any) -> str | None:
        if environ.get("app.owner", (None,))[0] == value:
            owner: str | None = environ["app.owner"][1]
            return owner
        row = self.connection.execute("SELECT owner FROM deals WHERE id = ?", (value,)).fetchone()
        return None if row is None else str(row[0])

    def in_tenant(self, principal: Principal, value: Any, environ: Any) -> bool:
        row = self.connection.execute(
            "SELECT 1 FROM users u JOIN deals d ON d.tenant = u.tenant WHERE u.id = ? AND d.id = ?",
            (principal, value),
        ).fetchone()
        return row is not None


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.connection.close()


def office_on(table: Table, tenancy: Literal["single", "multi"]) -> Office:
    owner = OwnerPermission(table.owner_of)
    return Office(
        contexts=ApplicationContexts(table.load, table.store),
        may_access=owner if tenancy == "single" else TenantPermission(owner, table.in_tenant),
    )


@pytest.mark.parametrize(
    ("tenancy", "deal", "restored", "queries"),
    [
        ("single", 7, "7", 1),
        ("single", 8, "8", 1),
        ("single", 9, "None", 2),
        ("single", 404, "None", 2),
        ("single", None, "None", 1),
        ("multi", 7, "7", 2),
        ("multi", 8, "None", 3),
        ("multi", 9, "None", 2),
        ("multi", 404, "None", 2),
    ],
)
def test_queries_of_a_restore_from_the_applications_own_table(
    table: Table, tenancy: Any, deal: int | None, restored: str, queries: int
) -> None:
    office = office_on(table, tenancy)
    table.store("alice", KEY, deal, {})
    visitor = office.visit("alice")
    table.statements.clear()
    assert visitor.go("/deal") == restored
    assert len(table.statements) == queries, table.statements
    table.statements.clear()
    assert visitor.go("/deal") == restored
    assert len(table.statements) == (0 if restored != "None" else 1)
    assert table.load("alice", KEY, {}) == (deal if restored != "None" else None)


@pytest.mark.parametrize(
    ("tenancy", "deal", "verdict", "queries"),
    [
        ("single", 7, "allowed", 2),
        ("single", 9, "denied", 1),
        ("single", 404, "gone", 1),
        ("multi", 7, "allowed", 3),
        ("multi", 8, "denied", 2),
    ],
)
def test_queries_of_a_selection_in_the_applications_own_table(
    table: Table, tenancy: Any, deal: int, verdict: str, queries: int
) -> None:
    office = office_on(table, tenancy)
    visitor = office.visit("alice")
    visitor.go("/open", deal=7)
    table.statements.clear()
    assert visitor.go("/select", deal=deal) == repr(verdict)
    assert len(table.statements) == queries, table.statements
    assert table.load("alice", KEY, {}) == 7


# -- permission (C3, C4) -----------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["denied", "gone", False])
def test_a_context_without_permission_is_not_restored_and_is_forgotten(
    office: Office, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    office.remember(7)
    office.may_access.answer = answer
    visitor = office.visit("alice")
    assert visitor.go("/deal") == "None"
    assert office.remembered() is None
    assert office.names() == ["context-lost"]
    assert "lost access" in caplog.text
    assert "alice" not in caplog.text

    office.may_access.answer = "allowed"
    assert visitor.go("/deal") == "None", "what was forgotten does not come back"


def test_permission_is_asked_at_every_restore(office: Office) -> None:
    office.remember(7)
    for _ in range(3):
        assert office.visit("alice").go("/deal") == "7"
        assert office.may_access.asked == [("alice", 7)]
    office.may_access.answer = "denied"
    assert office.visit("alice").go("/deal") == "None"


def test_a_context_that_is_selected_while_the_stale_one_is_refused_stays(office: Office) -> None:
    office.remember(7)

    def may_access(principal: Principal, value: Any, environ: Any) -> str:
        office.remember(8)  # by another session of the same user
        return "gone"

    office.middleware.policy.may_access = may_access  # type: ignore[assignment]
    assert office.visit("alice").go("/deal") == "None"
    assert office.remembered() == Context(encode(8), 5.0)


@pytest.mark.parametrize("answer", ["denied", "gone", False])
def test_a_refused_selection_changes_nothing(office: Office, answer: object) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    before, record = office.remembered(), list(office.backend.iteration.keys())
    office.forget_calls()
    office.may_access.answer = answer
    assert visitor.go("/select", deal=8) == repr("gone" if answer == "gone" else "denied")
    assert office.remembered() == before
    assert office.contexts.calls == {}
    assert office.session_calls == {"load": 1}
    assert list(office.backend.iteration.keys()) == record
    assert visitor.go("/deal") == "7"
    assert office.names() == ["context-refused"]


def test_after_a_refused_selection_the_last_context_is_still_there(office: Office) -> None:
    office.remember(7)
    answers = {7: True, 8: False}
    office.middleware.policy.may_access = lambda principal, value, environ: answers[value]
    office.pages["/try"] = lambda environ, query: (
        select_context(environ, 8),
        get_session(environ).get(KEY),
    )
    assert office.visit("alice").go("/try") == "('denied', 7)"


def test_an_anonymous_visitor_cannot_select(office: Office) -> None:
    visitor = office.visit()
    assert visitor.go("/select", deal=7) == "'denied'"
    visitor.go("/anonymous")
    assert visitor.go("/select", deal=7) == "'denied'"
    assert office.queries == 0
    assert visitor.go("/deal") == "None"


def test_a_selection_in_the_request_of_the_login(office: Office) -> None:
    def enter(environ: Any, query: Any) -> str:
        get_session(environ).login("alice")
        return select_context(environ, 7)

    office.pages["/enter"] = enter
    visitor = office.visit()
    assert visitor.go("/enter") == "'allowed'"
    assert visitor.go("/deal") == "7"
    assert office.remembered() == Context(encode(7), NOW)


def test_a_selection_of_the_same_context_renews_its_time(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    office.remember(7)
    visitor.go("/select", deal=7)
    assert office.remembered() == Context(encode(7), NOW)


def test_none_is_not_a_context(office: Office) -> None:
    office.pages["/select-none"] = lambda environ, query: select_context(environ, None)
    with pytest.raises(ValueError, match="forget_context"):
        office.visit("alice").ask("/select-none")


@pytest.mark.parametrize("path", ["/500", "/500-select", "/raises"])
def test_a_failed_response_selects_nothing(office: Office, path: str) -> None:
    def fail(environ: Any, query: Any) -> None:
        select_context(environ, 99)
        raise ZeroDivisionError

    office.pages["/raises"] = fail
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    if path == "/raises":
        with pytest.raises(ZeroDivisionError):
            visitor.ask(path)
    else:
        assert visitor.ask(path).status == 500
    assert office.remembered() == Context(encode(7), NOW)
    assert visitor.go("/deal") == "7"


def test_a_selection_in_a_session_that_is_gone_is_not_remembered(office: Office) -> None:
    visitor = office.visit("alice")

    def slow(environ: Any, query: Any) -> None:
        select_context(environ, 7)
        visitor.go("/logout")

    office.pages["/slow"] = slow
    late = OfficeVisitor(office.app)
    late.cookies = dict(visitor.cookies)
    late.go("/slow")
    assert office.remembered() is None


def test_a_selection_while_the_body_is_sent(office: Office) -> None:
    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ).get(KEY)
        start_response("200 OK", [*TEXT])
        yield b"first"
        select_context(environ, 7)
        yield b"second"

    office.handlers["/stream"] = stream
    visitor = office.visit("alice")
    visitor.go("/stream")
    assert office.remembered() == Context(encode(7), NOW)
    assert visitor.go("/deal") == "7"


# -- what the application sets itself ----------------------------------------------------------


def test_values_that_the_application_sets_are_remembered_once_after_the_permission(
    office: Office,
) -> None:
    visitor = office.visit("alice")
    visitor.go("/open", deal=7)
    assert office.remembered() == Context(encode(7), NOW)
    assert office.may_access.asked == [("alice", 7)]
    office.forget_calls()
    visitor.go("/open", deal=7)
    visitor.go("/anonymous")
    visitor.go("/all")
    assert office.queries == 0


@pytest.mark.parametrize("answer", ["denied", "gone"])
def test_values_set_without_permission_are_not_remembered(office: Office, answer: str) -> None:
    visitor = office.visit("alice")
    office.may_access.answer = answer
    visitor.go("/open", deal=7)
    assert office.remembered() is None
    assert office.names() == ["context-refused"]
    assert visitor.go("/deal") == "7", "the session is the application's own"


def test_it_may_be_switched_off() -> None:
    office = Office(remembering="selected")
    visitor = office.visit("alice")
    visitor.go("/open", deal=7)
    assert office.may_access.asked == []
    assert office.remembered() is None
    visitor.go("/select", deal=8)
    assert office.remembered() == Context(encode(8), NOW)
    visitor.go("/open", deal=9)
    assert office.remembered() == Context(encode(8), NOW)


def test_a_value_set_after_a_selection_is_asked_about_again(office: Office) -> None:
    def both(environ: Any, query: Any) -> None:
        select_context(environ, 7)
        get_session(environ)[KEY] = 8

    office.pages["/both"] = both
    office.visit("alice").go("/both")
    assert office.may_access.asked == [("alice", 7), ("alice", 8)]
    assert office.remembered() == Context(encode(8), NOW)
    assert office.contexts.calls["set"] == 1


def test_a_context_of_before_the_login_is_remembered_with_it(office: Office) -> None:
    visitor = office.visit()
    visitor.go("/open", deal=7)
    assert office.remembered() is None
    visitor.go("/login", user="alice")
    assert office.may_access.asked == [("alice", 7)]
    assert office.remembered() == Context(encode(7), NOW)


def test_a_value_of_another_request_is_not_remembered_by_this_one(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/open", deal=1)
    other = OfficeVisitor(office.app)
    other.cookies = dict(visitor.cookies)

    def slow(environ: Any, query: Any) -> None:
        get_session(environ)["n"] = 1
        other.go("/open", deal=7)
        office.forget_calls()

    office.pages["/slow"] = slow
    visitor.go("/slow")
    assert office.queries == 0
    assert visitor.go("/deal") == "7"


def test_a_second_commit_does_not_remember_it_again(office: Office) -> None:
    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ)[KEY] = 7
        start_response("200 OK", [*TEXT])
        yield b"first"
        get_session(environ)["n"] = 1
        yield b"second"

    office.handlers["/stream"] = stream
    office.visit("alice").go("/stream")
    assert office.session_calls["save"] == 2
    assert office.contexts.calls["set"] == 1


# -- leaving -----------------------------------------------------------------------------------


def test_a_context_is_left_for_good_by_forgetting_it(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    visitor.go("/forget")
    assert office.remembered() is None
    assert visitor.go("/deal") == "None"
    assert office.visit("alice").go("/deal") == "None"


def test_forgetting_in_a_cold_session(office: Office) -> None:
    office.remember(7)
    visitor = office.visit("alice")
    visitor.go("/forget")
    assert office.contexts.calls == {"clear": 1}
    assert visitor.go("/deal") == "None"


def test_a_context_is_left_for_this_session_by_none(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    visitor.go("/leave")
    assert visitor.go("/deal") == "None"
    assert office.visit("alice").go("/deal") == "7"


def test_a_key_that_was_lost_comes_back(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    visitor.go("/drop")
    assert visitor.go("/deal") == "7"


# -- the switch and faults (C5, C6) ------------------------------------------------------------


def test_restoring_may_be_switched_off_and_selections_are_remembered() -> None:
    office = Office(restoring=False)
    office.remember(7)
    visitor = office.visit("alice")
    assert visitor.go("/deal") == "None"
    assert office.queries == 0
    visitor.go("/select", deal=8)
    assert office.remembered() == Context(encode(8), NOW)


def test_a_store_that_fails_at_the_look_up(office: Office) -> None:
    office.remember(7)
    office.contexts.failing = {"get"}
    visitor = office.visit("alice")
    assert visitor.go("/deal") == "None"
    assert office.names() == ["context-failed"]
    assert "down for the test" in str(office.events[0])
    office.contexts.failing = set()
    assert visitor.go("/deal") == "7"


def test_a_store_that_fails_to_forget(office: Office) -> None:
    office.remember(7)
    office.contexts.failing = {"clear"}
    office.may_access.answer = "denied"
    visitor = office.visit("alice")
    for _ in range(2):
        assert visitor.go("/deal") == "None"
        assert office.names() == ["context-lost", "context-failed"]
        office.events.clear()
    visitor.go("/forget")
    assert office.names() == ["context-failed"]


@pytest.mark.parametrize("path", ["/select", "/open"])
def test_a_store_that_fails_to_remember(office: Office, path: str) -> None:
    visitor = office.visit("alice")
    office.contexts.failing = {"set"}
    visitor.go(path, deal=7)
    assert visitor.go("/deal") == "7"
    assert office.names() == ["context-selected", "context-failed"]
    assert office.remembered() is None


class Odd(Exception):
    """What an application may raise, with a value in its text."""


@pytest.mark.parametrize(
    "answer", [Odd("4711-secret"), UNAVAILABLE, "maybe", None, 1, [], KeyError]
)
def test_a_hook_that_fails_restores_and_forgets_nothing(
    office: Office, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    context = office.remember(7)
    office.may_access.answer = answer
    visitor = office.visit("alice")
    assert visitor.go("/deal") == "None"
    assert office.names() == ["context-failed"]
    assert office.remembered() == context
    assert caplog.records
    assert "4711" not in " ".join(record.getMessage() for record in caplog.records)

    office.contexts.calls.clear()
    visitor.go("/open", deal=8)
    assert office.remembered() == context, "and what it was not asked about is not remembered"


def test_a_hook_that_fails_at_a_selection_is_the_applications_to_handle(office: Office) -> None:
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    office.may_access.answer = Odd()
    with pytest.raises(Odd):
        visitor.ask("/select", deal=8)
    assert visitor.go("/deal") == "7"


def test_hooks_of_the_application_that_raise() -> None:
    def fail(*_: Any) -> Any:
        raise Odd

    office = Office(contexts=ApplicationContexts(fail, fail))
    visitor = office.visit("alice")
    assert visitor.go("/deal") == "None"
    visitor.go("/select", deal=7)
    visitor.go("/forget")
    assert office.names() == [
        "context-failed",
        "context-selected",
        "context-failed",
        "context-failed",
    ]


def test_a_hook_that_returns_unsupported_values() -> None:
    office = Office(contexts=ApplicationContexts(lambda *_: object(), lambda *_: None))
    assert office.visit("alice").go("/deal") == "None"
    assert office.names() == ["context-failed"]


def test_a_damaged_value_is_forgotten(office: Office) -> None:
    MemoryContexts.set(office.contexts, "alice", KEY, Context(b"\xc1", 1.0))
    assert office.visit("alice").go("/deal") == "None"
    assert office.names() == ["context-failed"]
    assert office.remembered() is None


def test_a_failure_to_put_it_back_gives_no_503_and_the_session_stays_unread(
    office: Office,
) -> None:
    """What fails in the session store is the session's own fault, as ever."""
    office.remember(7)
    visitor = office.visit("alice")
    sessions: Any = office.backend.sessions
    load = sessions.load

    def fail(key: str) -> Any:
        raise UNAVAILABLE

    sessions.load = fail
    assert visitor.ask("/deal").status == 503
    assert office.queries == 0
    assert visitor.ask("/untouched").status == 200
    sessions.load = load
    assert visitor.go("/deal") == "7"


def test_after_the_end_of_the_request_nothing_is_restored(office: Office) -> None:
    kept: list[Any] = []
    office.pages["/keep"] = lambda environ, query: kept.append(get_session(environ))
    office.remember(7)
    visitor = office.visit("alice")
    visitor.go("/keep")
    assert kept[0].get(KEY) is None
    assert office.queries == 0


# -- overlapping requests ----------------------------------------------------------------------


def test_restoring_never_replaces_what_another_request_selected(office: Office) -> None:
    office.remember(7)
    visitor = office.visit("alice")
    other = OfficeVisitor(office.app)
    other.cookies = dict(visitor.cookies)

    def slow(environ: Any, query: Any) -> Any:
        session = get_session(environ)
        session["n"] = 1
        other.go("/select", deal=8)
        return session[KEY]

    office.pages["/slow"] = slow
    assert visitor.go("/slow") == "7"
    assert visitor.go("/all") == f"{{'{KEY}': 8, 'n': 1}}"
    assert office.remembered() == Context(encode(8), NOW)
    assert "conflict" not in [event.name for event in office.events]


def test_many_cold_requests_at_once_do_not_conflict(office: Office) -> None:
    office.remember(7)
    visitor = office.visit("alice")
    barrier = threading.Barrier(8)

    def together(environ: Any, query: Any) -> Any:
        deal = get_session(environ).get(KEY)
        barrier.wait(10)
        return deal

    office.pages["/together"] = together
    answers: list[str] = []

    def visit() -> None:
        twin = OfficeVisitor(office.app)
        twin.cookies = dict(visitor.cookies)
        answers.append(twin.go("/together"))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["7"] * 8
    assert {event.name for event in office.events} == {"context-restored"}
    assert visitor.go("/all") == f"{{'{KEY}': 7}}"


def test_two_selections_of_one_context_do_not_conflict(office: Office) -> None:
    """Looking whether there is a context does not count as reading it."""
    visitor = office.visit("alice")
    other = OfficeVisitor(office.app)
    other.cookies = dict(visitor.cookies)

    def slow(environ: Any, query: Any) -> None:
        get_session(environ).get("n")
        select_context(environ, 7)
        other.go("/select", deal=7)

    office.pages["/slow"] = slow
    visitor.go("/slow")
    assert "conflict" not in [event.name for event in office.events]


# -- several keys, and none --------------------------------------------------------------------


def two_keys() -> tuple[Office, list[Any]]:
    office, asked = Office(), []
    inner = office.middleware.app

    def may_open(principal: Principal, value: Any, environ: Any) -> bool:
        asked.append(value)
        return True

    office.middleware.app = ContextMiddleware(inner, office.contexts, "fund", may_open)
    return office, asked


def test_each_key_has_its_own_permission() -> None:
    office, asked = two_keys()
    office.pages["/select-both"] = lambda environ, query: (
        select_context(environ, 7, key=KEY),
        select_context(environ, "f", key="fund"),
    )
    office.visit("alice").go("/select-both")
    assert (office.may_access.asked, asked) == ([("alice", 7)], ["f"])
    office.may_access.answer = "gone"
    assert office.visit("alice").go("/all") == "{'fund': 'f'}"


def test_which_of_several_keys_has_to_be_said() -> None:
    office, _ = two_keys()
    with pytest.raises(LookupError, match=f"{KEY}, fund"):
        office.visit("alice").ask("/select", deal=7)


def test_outside_of_the_middleware_it_is_said_what_to_do() -> None:
    with pytest.raises(LookupError, match=r"`context\.key`"):
        select_context({}, 7)
    middleware = ContextMiddleware(as_list, MemoryContexts(), KEY, lambda *_: True)
    with pytest.raises(LookupError, match="wrap the application"):
        call(middleware, environ_of("/"))


def test_after_the_end_of_the_request_there_is_nothing_to_select(office: Office) -> None:
    environ = environ_of("/")
    office.pages["/"] = lambda environ, query: None
    call(office.app, environ)
    with pytest.raises(LookupError, match="the request has ended"):
        select_context(environ, 7)


# -- ways to look (C13, C14) -------------------------------------------------------------------


def test_the_outcome_is_explained_in_advance(office: Office) -> None:
    policy = office.middleware.policy
    environ = environ_of("/")

    def explained(principal: str | None = "alice") -> tuple[str, str]:
        found = policy.explain(principal, environ)
        return found.would, found.why

    assert explained(None) == ("nothing", "nobody is logged in")
    assert explained() == ("nothing", "no context is remembered")
    office.remember(7)
    assert explained()[0] == "restore"
    found = policy.explain("alice", environ)
    assert (found.key, found.value, found.accessed_at) == (KEY, 7, 5.0)
    assert "7" not in repr(found).replace("5.0", "")
    office.may_access.answer = "gone"
    assert explained() == ("refuse", "the permission hook says that it no longer exists")
    office.may_access.answer = Odd("4711-secret")
    assert explained() == ("fail", "Odd")
    office.contexts.failing = {"get"}
    assert explained() == ("fail", "down for the test")
    policy.restoring = False
    assert explained() == ("nothing", "restoring is switched off")
    assert office.remembered() is not None
    assert office.names() == []


def test_a_request_explains_its_own_context(office: Office) -> None:
    visitor = office.visit("alice")
    assert "would='nothing'" in visitor.go("/explain")
    visitor.go("/select", deal=7)
    assert "would='restore'" in visitor.go("/explain")


def test_the_audit_names_user_action_and_reason(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsgi_sessions.contexts.audit")
    visitor = office.visit("alice")
    visitor.go("/select", deal=7)
    office.visit("alice").go("/deal")
    restored = office.audit[-1]
    office.may_access.answer = "denied"
    office.visit("alice").go("/deal")
    lost = office.audit[-1]
    assert restored == AuditRecord(
        NOW,
        "alice",
        "restore",
        KEY,
        7,
        "allowed",
        "the permission hook says allowed",
        user=restored.user,
    )
    assert (lost.action, lost.outcome, lost.value) == ("restore", "denied", 7)

    logged = [record for record in caplog.records if record.name == "wsgi_sessions.contexts.audit"]
    facts: Any = [record.__dict__["audit"] for record in logged]
    assert [(f["action"], f["outcome"]) for f in facts] == [
        ("select", "allowed"),
        ("restore", "allowed"),
        ("restore", "denied"),
    ]
    assert {(f["principal"], f["key"], f["value"], f["at"]) for f in facts} == {
        ("alice", KEY, 7, NOW)
    }
    assert logged[0].getMessage() == (
        f"select of current_deal_id by {restored.user}: allowed, the permission hook says allowed"
    )


def test_the_audit_log_is_off_unless_it_is_switched_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wsgi_sessions.contexts.audit")
    office = Office(audit=None)
    office.visit("alice").go("/select", deal=7)
    assert not [
        record for record in caplog.records if record.name == "wsgi_sessions.contexts.audit"
    ]


def test_an_audit_hook_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: AuditRecord) -> None:
        raise Odd

    office = Office(audit=Audit(hook=fail))
    office.remember(7)
    assert office.visit("alice").go("/deal") == "7"
    assert "audit hook raised" in caplog.text


def test_no_value_reaches_another_log(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    visitor = office.visit("alice")
    visitor.go("/select", deal=471147)
    office.may_access.answer = "denied"
    visitor.go("/select", deal=471147)
    office.visit("alice").go("/deal")
    assert "context-lost" in caplog.text
    assert "471147" not in caplog.text


# -- permissions -------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["5", 5])
@pytest.mark.parametrize("principal", ["5", 5])
def test_an_owner_is_compared_as_text(owner: Principal, principal: Principal) -> None:
    permission = OwnerPermission(lambda value, environ: owner)
    assert permission(principal, 7, {}) == "allowed"
    assert permission("6", 7, {}) == "denied"
    assert OwnerPermission(lambda value, environ: None)("5", 7, {}) == "gone"


@pytest.mark.parametrize(
    ("first", "second", "verdict", "asked"),
    [
        (True, True, "allowed", 1),
        ("allowed", "gone", "gone", 1),
        (True, False, "denied", 1),
        (False, True, "denied", 0),
        ("gone", True, "gone", 0),
    ],
)
def test_the_tenant_is_asked_about_what_is_allowed_otherwise(
    first: Any, second: Any, verdict: str, asked: int
) -> None:
    calls: list[Any] = []

    def in_tenant(*facts: Any) -> Any:
        calls.append(facts)
        return second

    permission = TenantPermission(lambda *_: first, in_tenant)
    assert permission("alice", 7, {"x": 1}) == verdict
    assert calls == [("alice", 7, {"x": 1})] * asked


@pytest.mark.parametrize("answer", [None, 0, 1, "", "Allowed", b"allowed", ["allowed"]])
def test_a_missing_answer_is_not_a_permission(answer: object) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        as_verdict(answer)


# -- PEP 3333 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("use", ["none", "restore", "set", "select"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_shape_of_response_is_valid_inside_and_outside(
    office: Office, shape: Any, use: str, method: str
) -> None:
    office.remember(7)

    @validator
    def handler(environ: Any, start_response: Any) -> Any:
        if use != "none":
            assert get_session(environ).get(KEY) == 7
        if use == "set":
            get_session(environ)[KEY] = 8
        if use == "select":
            select_context(environ, 8)
        return shape(environ, start_response)

    office.handlers["/"] = handler
    visitor = office.visit("alice")
    closed = AsObject.closed
    cookie = f"session={visitor.cookies['session']}"
    response = call(validator(office.app), environ_of("/", method, cookie, QUERY_STRING=""))
    assert response.status == 200
    assert response.body == (b"" if shape is as_empty_generator else b"body")
    assert AsObject.closed == closed + (shape is AsObject)
    found = office.remembered()
    assert found is not None
    assert found.value == encode(8 if use in ("set", "select") else 7)


@pytest.mark.parametrize("shape", [as_list, as_tuple, as_file])
def test_lists_and_files_stay_what_they_are(office: Office, shape: Any) -> None:
    office.handlers["/"] = shape
    environ = environ_of("/")
    inner: Any = shape(environ, lambda *_: lambda _: None)
    outer: Any = office.app(environ, lambda *_: lambda _: None)
    assert type(outer) is type(inner)
    for body in (inner, outer):
        if hasattr(body, "close"):
            body.close()
