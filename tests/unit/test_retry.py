"""Requests that are run again where their changes conflict, until they do not."""

from __future__ import annotations

import io
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from wsgi_client import Browser

from wsgi_sessions import Config, Event, LockTimeout, SessionConflict, build, get_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions import Session

SECRET = "s" * 40
TEXT = [("Content-Type", "text/plain")]


class RetriedSite:
    """A site whose `/orders/…` pages are run again. `others` happens in each call of such a page
    that has read its session, with the number of the call."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[Event] = []
        self.calls = 0
        self.bodies: list[bytes] = []
        self.others: Callable[[int], object] = lambda _call: None
        self.work: Callable[[Session], object] = count
        self.status = "200 OK"
        config = Config(
            url="memory://",
            secret_keys=(SECRET,),
            sweep_interval=None,
            retry_paths=("/orders/*",),
            **settings,
        )
        self.stack = build(self.app, config, on_event=self.events.append)
        self.browser = Browser(self.stack)
        self.browser.get("/write")

    def order(self, body: bytes = b"tea", path: str = "/orders/1", **environ: Any) -> Any:
        environ = {"CONTENT_LENGTH": str(len(body)), **environ}
        call = lambda env, start: self.stack({**env, "wsgi.input": io.BytesIO(body)}, start)  # noqa: E731
        browser = Browser(call)
        browser.cookies = self.browser.cookies  # the very same
        return browser.get(path, method="POST", **environ)

    def once(self, *calls: int) -> None:
        """Have another request write while these calls are under way."""
        self.others = lambda call: self.browser.get("/write") if call in calls else None

    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.browser.get("/read", handler=found.update)
        return found

    def names(self) -> list[str]:
        return [event.name for event in self.events if event.name in ("conflict", "run-again")]

    def app(self, environ: Any, start_response: Any) -> Any:
        if "handler" in environ:
            environ["handler"](get_session(environ))
        elif environ["PATH_INFO"] == "/write":
            count(get_session(environ))
        else:
            return self._order(environ, start_response)
        start_response("200 OK", TEXT)
        return [b"done"]

    def _order(self, environ: Any, start_response: Any) -> Any:
        self.calls += 1
        self.bodies.append(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)))
        session = get_session(environ)
        self.work(session)
        self.others(self.calls)
        start_response(self.status, [*TEXT, ("X-Call", str(self.calls))])
        return [b"call ", str(self.calls).encode()]


def count(session: Session) -> None:
    session["n"] = session.get("n", 0) + 1


@pytest.mark.parametrize("settings", [{}, {"on_conflict": "raise"}, {"merge": (("n", "fail"),)}])
def test_a_conflict_runs_the_request_again(settings: dict[str, Any]) -> None:
    shop = RetriedSite(**settings)
    shop.once(1, 2)
    response = shop.order()
    assert (response.status, response.body) == (200, b"call 3")
    assert response.header("X-Call") == "3"
    assert shop.bodies == [b"tea"] * 3
    assert shop.stored() == {"n": 4}
    assert shop.names() == ["run-again"] * 2
    facts = [dict(event.facts) for event in shop.events if event.name == "run-again"]
    assert facts[1] == {"path": "n", "route": "POST /orders/1", "attempt": 2}


def test_a_request_without_a_conflict_runs_once() -> None:
    shop = RetriedSite()
    shop.others = lambda _call: shop.browser.get("/x", handler=lambda s: s.update(other=1))
    assert shop.order().body == b"call 1"
    assert shop.stored() == {"n": 2, "other": 1}
    assert shop.names() == []


def test_after_three_more_calls_it_runs_alone() -> None:
    """Others that wait for their turn wait; one that does not is a conflict as anywhere."""
    shop = RetriedSite()
    shop.once(1, 2, 3, 4)
    assert shop.order().body == b"call 5"
    assert shop.stored() == {"n": 6}
    assert shop.names() == ["run-again"] * 4

    shop.calls = 0
    held: list[bool] = []
    shop.others = lambda call: (
        shop.browser.get("/write") if call < 5 else held.append(is_held(shop))
    )
    shop.order()
    assert held == [True]

    shop.calls = 0
    shop.once(*range(1, 9))
    assert shop.order().status == 200
    assert shop.names()[-8:] == ["run-again"] * 7 + ["conflict"]


def is_held(shop: RetriedSite) -> bool:
    found: list[bool] = []

    def try_it(session: Session) -> None:
        try:
            with session.exclusive(timeout=0.01):
                found.append(False)
        except LockTimeout:
            found.append(True)

    shop.browser.get("/x", handler=try_it)
    return found[0]


def test_the_last_call_is_refused_as_configured() -> None:
    shop = RetriedSite(on_conflict="raise")
    shop.once(*range(1, 9))
    assert shop.order().status == 409
    assert shop.calls == 8
    assert shop.stored() == {"n": 9}


@pytest.mark.parametrize("path", ["/order", "/orders", "/ordersx/1"])
def test_other_paths_are_as_before(path: str) -> None:
    shop = RetriedSite()
    shop.once(1)
    assert shop.order(path=path).body == b"call 1"
    assert shop.names() == ["conflict"]


@pytest.mark.parametrize(
    ("limit", "environ"),
    [
        (3, {"CONTENT_LENGTH": "4"}),
        (3, {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "3"}),
        (3, {"CONTENT_LENGTH": "+3"}),
    ],
)
def test_a_body_that_is_not_kept_is_run_once(limit: int, environ: dict[str, Any]) -> None:
    shop = RetriedSite(retry_max_body=limit)
    shop.once(1)
    body = b"milk"[: int(environ["CONTENT_LENGTH"])]
    assert shop.order(body, **environ).body == b"call 1"
    assert shop.bodies == [body]
    assert shop.names() == ["conflict"]
    assert shop.order(b"tea").status == 200


def test_a_body_of_the_limit_is_kept() -> None:
    shop = RetriedSite(retry_max_body=3)
    shop.once(1)
    assert shop.order(b"tea").body == b"call 2"
    assert shop.bodies == [b"tea", b"tea"]


def test_the_environ_is_what_it_was_and_the_same_object() -> None:
    seen: list[tuple[int, str, bool]] = []
    shop = RetriedSite()
    shop.once(1)

    def outer(environ: Any, start_response: Any) -> Any:
        return shop.stack(environ, start_response)

    inner = shop.stack.sessions.app

    def moving(environ: Any, start_response: Any) -> Any:
        seen.append((id(environ), environ["PATH_INFO"], "moved" in environ))
        environ["SCRIPT_NAME"], environ["moved"] = "/shop", True
        return inner(environ, start_response)

    shop.stack.sessions.app = moving
    assert Browser(outer).get("/orders/1", cookie=cookie_of(shop), CONTENT_LENGTH="").status == 200
    ours = [each for each in seen if each[1] == "/orders/1"]
    assert len(ours) == 2
    assert ours[0] == ours[1]
    assert not ours[1][2]


def cookie_of(shop: RetriedSite) -> str:
    return "; ".join(f"{name}={value}" for name, value in shop.browser.cookies.items())


@pytest.mark.parametrize("how", ["generator", "write", "file"])
def test_a_response_of_any_kind_has_not_begun(how: str) -> None:
    shop = RetriedSite()
    closed: list[str] = []

    def order(environ: Any, start_response: Any) -> Any:
        shop.calls += 1
        count(get_session(environ))
        if shop.calls == 1:
            shop.browser.get("/write")
        if how == "file":
            start_response("200 OK", TEXT)
            return environ["wsgi.file_wrapper"](io.BytesIO(str(shop.calls).encode()))
        if how == "write":
            start_response("200 OK", TEXT)(str(shop.calls).encode())
            return []
        return streamed(start_response)

    def streamed(start_response: Any) -> Iterator[bytes]:
        try:
            start_response("200 OK", TEXT)
            yield str(shop.calls).encode()
        finally:
            closed.append("closed")

    shop.stack.sessions.app = lambda e, s: (
        order(e, s) if e["PATH_INFO"] == "/orders/1" else shop.app(e, s)
    )
    assert shop.order().body == b"2"
    assert shop.stored() == {"n": 3}
    assert closed == (["closed"] * 2 if how == "generator" else [])


def test_changes_after_the_first_chunk_are_as_before() -> None:
    shop = RetriedSite()

    def order(environ: Any, start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        start_response("200 OK", TEXT)
        yield b"one"
        shop.calls += 1
        count(session)
        shop.browser.get("/write")
        yield b"two"

    shop.stack.sessions.app = lambda e, s: (
        order(e, s) if e["PATH_INFO"] == "/orders/1" else shop.app(e, s)
    )
    assert shop.order().body == b"onetwo"
    assert shop.calls == 1
    assert shop.names() == ["conflict"]


@contextmanager
def recorded(steps: list[str]) -> Iterator[None]:
    """A transaction of the application's own."""
    try:
        yield
    except BaseException:
        steps.append("rolled back")
        raise
    steps.append("committed")


def test_an_own_transaction_rolls_back_where_the_session_commits_within() -> None:
    shop = RetriedSite()
    steps: list[str] = []

    def work(session: Session) -> None:
        with recorded(steps):
            count(session)
            if shop.calls == 1:
                shop.browser.get("/write")
            session.commit()

    shop.work = work
    assert shop.order().body == b"call 2"
    assert steps == ["rolled back", "committed"]
    assert shop.stored() == {"n": 3}


@pytest.mark.parametrize("step", ["commit", "exclusive"])
def test_what_was_stored_is_not_stored_twice(step: str) -> None:
    shop = RetriedSite()

    def work(session: Session) -> None:
        with session.exclusive() if step == "exclusive" else nullcontext():
            session["done"] = session.get("done", 0) + 1
        if step == "commit":
            session.commit()
        count(session)

    shop.work = work
    shop.once(1)
    assert shop.order().body == b"call 1"
    assert shop.stored()["done"] == 1
    assert shop.names() == ["conflict"]


def test_a_block_that_conflicts_on_entering_runs_the_request_again() -> None:
    shop = RetriedSite()

    def work(session: Session) -> None:
        count(session)
        if shop.calls == 1:
            shop.browser.get("/write")
        with session.exclusive():
            session["inside"] = True

    shop.work = work
    assert shop.order().body == b"call 2"
    assert shop.stored() == {"n": 3, "inside": True}


@pytest.mark.parametrize("change", ["cycle_id", "login"])
def test_a_new_id_is_given_once(change: str) -> None:
    shop = RetriedSite()

    def work(session: Session) -> None:
        count(session)
        session.cycle_id() if change == "cycle_id" else session.login("alice")

    shop.work = work
    shop.once(1)
    response = shop.order()
    assert response.body == b"call 2"
    assert response.header("Set-Cookie") is not None
    assert shop.stored() == {"n": 3}
    backend = shop.stack.manager.backend
    assert backend.iteration is not None
    assert shop.stack.manager.sessions_of("alice") == [] or change == "login"


def test_nothing_is_reported_as_dropped() -> None:
    shop = RetriedSite()

    def work(session: Session) -> None:
        count(session)
        if shop.calls == 1:
            shop.browser.get("/write")
            with session.exclusive():
                pytest.fail("entered")
        session["kept"] = True

    shop.work = work
    assert shop.order().body == b"call 2"
    assert shop.stored() == {"n": 3, "kept": True}
    assert {event.name for event in shop.events}.isdisjoint({"dropped", "destroyed"})


def test_errors_and_refusals_are_as_before() -> None:
    shop = RetriedSite()
    shop.once(1)
    shop.status = "500 Internal Server Error"
    assert shop.order().status == 500
    assert shop.calls == 1
    assert shop.stored() == {"n": 2}

    def fail(_session: Session) -> None:
        raise ZeroDivisionError

    shop.work = fail
    with pytest.raises(ZeroDivisionError):
        shop.order()

    def refuse(_session: Session) -> None:
        raise SessionConflict([])

    shop.work = refuse
    assert shop.order().status == 409
    assert shop.names() == []


def test_it_is_wsgi_inside_and_outside() -> None:
    shop = RetriedSite()
    app = validator(shop.stack)
    browser = Browser(lambda environ, start: app({**environ, "QUERY_STRING": ""}, start))
    browser.cookies = shop.browser.cookies

    def order(environ: Any, start_response: Any) -> Any:
        shop.calls += 1
        count(get_session(environ))
        if shop.calls == 1:
            shop.browser.get("/write")
        start_response("200 OK", TEXT)
        return [str(shop.calls).encode()]

    shop.stack.sessions.app = lambda e, s: (
        validator(order)(e, s) if e["PATH_INFO"] == "/orders/1" else shop.app(e, s)
    )
    assert browser.get("/orders/1", method="POST").body == b"2"
