"""Each end of a session is reported with its reason; so is a cookie that leads to none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from worlds import HOUR, START, World, login
from wsgi_client import Browser

from wsgi_sessions import Config, build
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.endings.refusals import MOST, SECONDS, Refusals
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.endings import Absence
from wsgi_sessions.identity import short_key, store_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.session import Session


def ends(world: World) -> list[tuple[str | None, object, object]]:
    """The key, the reason and the route of each end that was reported."""
    found = (event for event in world.events if event.name == "ended")
    return [(each.key, each.facts["why"], each.facts.get("route")) for each in found]


def change(world: World, session_id: str, what: Callable[[Session], object]) -> str | None:
    """Change a session in a request; return its id after that."""
    transaction = world.begin(session_id, "POST /do")
    what(transaction.session)
    transaction.commit()
    return transaction.session_id


def short(session_id: str) -> str:
    return short_key(store_key(session_id))


def flush(session: Session) -> None:
    session.flush()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (flush, "logged-out"),
        (lambda session: session.cycle_id(), "replaced"),
        (lambda session: session.login("alice"), "replaced"),
        (lambda session: session.login("bob"), "superseded"),
    ],
)
def test_the_end_in_a_request_has_its_reason_and_route(
    what: Callable[[Session], object], why: str
) -> None:
    world = World()
    session_id = login(world)
    world.events.clear()
    change(world, session_id, what)
    assert ends(world) == [(short(session_id), why, "POST /do")]
    (event,) = (event for event in world.events if event.name == "ended")
    assert (event.facts["by"], event.facts["at"]) == ("request", START)
    assert event.facts["user"] == world.manager.events.pseudonyms.of("alice")


@pytest.mark.parametrize(
    ("value", "why"), [(None, "logged-out"), ("bob", "superseded"), ("alice", "replaced")]
)
def test_the_user_key_of_an_application_tells_the_reason(value: str | None, why: str) -> None:
    world = World(identity=IdentityRules("user"))
    session_id = world.new(user="alice")
    world.events.clear()

    def assign(session: Session) -> None:
        if value is None:
            del session["user"]
        else:
            session["user"] = value

    change(world, session_id, assign)
    assert ends(world) == [(short(session_id), why, "POST /do")]


def test_an_end_from_outside_names_who() -> None:
    world = World()
    first, second, third = (login(world) for _ in range(3))
    world.events.clear()
    world.manager.destroy(store_key(first), by="command revoke by root")
    world.manager.destroy_sessions_of("alice", keep=store_key(third))
    assert ends(world) == [(short(first), "revoked", None), (short(second), "revoked", None)]
    by = [event.facts["by"] for event in world.events if event.name == "ended"]
    assert by == ["command revoke by root", "destroy_sessions_of()"]


def test_the_end_of_the_absolute_lifetime_is_reported_once_with_its_time() -> None:
    world = World(lifetimes=Lifetimes(2 * HOUR, HOUR))
    session_id = world.new(a=1)
    world.backend.sessions.touch(store_key(session_id), START + 3 * HOUR)
    world.now += HOUR + 5
    for _ in range(2):
        assert world.data(session_id) == {}
    assert ends(world) == [(short(session_id), "expired-absolute", None)]
    (event,) = (event for event in world.events if event.name == "ended")
    assert event.facts["at"] == START + HOUR


def test_a_damaged_record_is_an_end() -> None:
    world = World()
    session_id = world.new(a=1)
    key = store_key(session_id)
    world.backend.sessions.save(key, b"\x01damaged", START + HOUR, expected_version=1)
    assert world.data(session_id) == {}
    assert ends(world) == [(short(session_id), "damaged", None)]


def test_a_save_that_fails_is_no_end() -> None:
    world = World()
    session_id = world.new(a=1)
    transaction = world.begin(session_id)
    transaction.session.flush()
    transaction.discard()
    transaction.commit()
    assert ends(world) == []


# -- refusals --------------------------------------------------------------------------------------


def refused(events: list[Event]) -> list[tuple[str | None, object, object]]:
    return [(e.key, e.facts["why"], e.facts["route"]) for e in events if e.name == "refused"]


def test_a_cookie_without_a_session_is_reported_once_a_minute() -> None:
    world = World()
    session_id = world.new(a=1)
    change(world, session_id, flush)
    for _ in range(5):
        assert dict(world.begin(session_id, "GET /page").session) == {}
    assert refused(world.events) == [(short(session_id), "unknown", "GET /page")]


def test_a_cookie_of_a_live_session_or_none_is_no_refusal() -> None:
    world = World()
    session_id = world.new(a=1)
    assert world.data(session_id) == {"a": 1}
    assert dict(world.begin().session) == {}
    assert refused(world.events) == []


def test_a_cookie_that_is_not_signed_is_reported() -> None:
    events: list[Event] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi_sessions.session"].get("a")
        start_response("200 OK", [])
        return []

    config = Config.from_environ(
        {"WSGI_SESSIONS_URL": "memory://", "WSGI_SESSIONS_SECRET_KEYS": "s" * 40}
    )
    browser = Browser(build(app, config, on_event=events.append))
    for cookie in ("session=forged", "session=forged", "other=1"):
        browser.get("/page", cookie=cookie)
    assert refused(events) == [(None, "signature", "GET /page")]


def test_reports_of_refusals_are_few_and_say_how_many_were_left_out() -> None:
    events: list[Event] = []
    now = [0.0]
    refusals = Refusals(Events(events.append), lambda _: Absence("unknown"), lambda: now[0])
    for number in range(MOST + 7):
        refusals.note(store_key(f"{number:043}"), "GET /")
    assert len(events) == MOST
    now[0] += SECONDS
    refusals.note(store_key("x" * 43), "GET /")
    assert len(events) == MOST + 1
    assert events[-1].facts["more"] == 7
