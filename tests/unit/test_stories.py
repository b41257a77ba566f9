"""What is known of sessions' lives, and what a record keeps for that."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from worlds import HOUR, START, World

from wsgi_sessions.cli.moments import moment
from wsgi_sessions.contract import Context
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.draft import REFRESHED
from wsgi_sessions.core.endings.traces import Traces
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.history import REBUILT, RESTORED
from wsgi_sessions.identity import store_key
from wsgi_sessions.operations.teller import Teller
from wsgi_sessions.stores.memory.endings import MemoryEndings
from wsgi_sessions.versions.policy import STAMPS

SECRET = "s" * 40


def teller(world: World) -> Teller:
    names = [world.manager.events.pseudonyms]
    return Teller(world.backend, Lifetimes(), names, ["deal"], lambda: world.now)


def login(world: World, user: str = "alice") -> str:
    transaction = world.begin(None, "POST /login")
    transaction.session.login(user)
    transaction.commit()
    assert transaction.session_id is not None
    return transaction.session_id


def steps(world: World, session_id: str) -> list[tuple[float, str]]:
    (story,) = teller(world).of_key(store_key(session_id))
    return [(step.at - START, step.what) for step in story.steps]


def traced() -> World:
    return World(traces=Traces(MemoryEndings(), HOUR))


# -- what a record keeps ---------------------------------------------------------------------------


def test_a_conflict_is_kept_with_its_time_key_and_route() -> None:
    world = World()
    session_id = world.new(n=1)
    first, second = world.begin(session_id, "POST /a"), world.begin(session_id, "POST /b")
    assert first.session["n"] == second.session["n"] == 1
    for transaction, value in ((first, 2), (second, 3)):
        transaction.session["n"] = value
        world.now += 1
        transaction.commit()
    assert world.conflicts()
    (story,) = teller(world).of_key(store_key(session_id))
    (met,) = (step for step in story.steps if step.what == "conflict")
    assert met.at == START + 2
    assert "key n" in met.words
    assert "POST /b" in met.words


def test_a_commit_without_a_conflict_keeps_the_metadata_as_it_is() -> None:
    world = World()
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    before = transaction.session["n"]
    transaction.session["n"] = before + 1
    transaction.commit()
    assert world.manager.loader.load(session_id).envelope.metadata == {}  # type: ignore[union-attr]


def test_notes_of_a_record_are_told_in_order_and_damaged_ones_left_out() -> None:
    world = World()
    session_id = login(world)
    transaction = world.begin(session_id, "GET /")
    draft = transaction.draft()
    draft.set_metadata(REBUILT, START + 30)
    draft.set_metadata(RESTORED, [START + 20, "deal"])
    draft.set_metadata(REFRESHED, "never")
    world.now += 40
    transaction.commit()
    assert steps(world, session_id) == [
        (0, "began"),
        (20, "context-restored"),
        (30, "rebuilt"),
        (40, "stored"),
    ]


def test_the_trace_of_an_end_has_what_the_record_told() -> None:
    world = traced()
    session_id = login(world)
    transaction = world.begin(session_id, "GET /")
    transaction.draft().set_metadata(REBUILT, START + 1)
    transaction.commit()
    transaction = world.begin(session_id, "POST /logout")
    transaction.session.flush()
    transaction.commit()
    assert world.manager.endings.traces is not None
    trace = world.manager.endings.traces.of(store_key(session_id))
    assert trace is not None
    assert [(step.at, step.what) for step in trace.steps] == [(START + 1, "rebuilt")]
    assert trace.process is not None
    assert "process" in trace.process


# -- stories ---------------------------------------------------------------------------------------


def test_a_live_session_says_why_its_next_page_rebuilds_it_and_what_was_selected() -> None:
    world = World()
    session_id = login(world)
    transaction = world.begin(session_id, "GET /")
    transaction.draft().set_metadata(STAMPS, {"global": 1, "league:5": 7})
    transaction.commit()
    assert world.backend.versions is not None
    assert world.backend.contexts is not None
    world.backend.versions.bump("global", least=2)
    world.backend.versions.bump("league:5", least=7)
    world.backend.contexts.set("alice", "deal", Context(encode(5), START + 3))
    (story,) = teller(world).of_user("alice")
    told = {step.what: step.words for step in story.steps}
    assert "global went to version 2" in told["bumped"]
    assert "of version 1" in told["bumped"]
    assert "league" not in told["bumped"]
    assert "last deal was selected" in told["context-selected"]
    assert story.state == "live"
    assert story.user == world.manager.events.pseudonyms.of("alice")


def test_an_expired_session_is_told_of_before_the_sweep_also_by_its_user() -> None:
    world = World(lifetimes=Lifetimes(HOUR, 2 * HOUR))
    session_id = login(world)
    world.now += HOUR + 1
    (story,) = Teller(world.backend, Lifetimes(HOUR, 2 * HOUR)).of_user("alice")
    assert (story.state, story.why) == ("expired", "expired-idle")
    assert story.key == store_key(session_id)
    assert story.steps[-1].at == START + HOUR


def test_a_listed_session_that_the_server_deleted_has_most_likely_expired() -> None:
    world = World()
    key = store_key(login(world))
    world.backend.sessions.delete(key)
    backend = replace(world.backend, expired=None)
    (story,) = Teller(backend, Lifetimes()).of_user("alice")
    assert (story.key, story.why, story.is_inferred) == (key, "expired-idle", True)
    assert Teller(world.backend, Lifetimes()).of_user("alice") == []


def test_the_sessions_around_a_moment_are_those_of_then() -> None:
    world = World()
    first = login(world)
    world.now += HOUR
    second = login(world)
    stories = {story.key: story for story in teller(world).of_user("alice")}
    before, after = stories[store_key(first)], stories[store_key(second)]
    assert before.is_near(START + HOUR / 2)
    assert not after.is_near(START + HOUR / 2)
    assert after.is_near(START + HOUR - 60)
    assert not before.is_near(START - HOUR)


def test_an_ended_session_is_of_no_moment_after_its_end() -> None:
    world = World()
    world.manager.endings.traces = traces = Traces(world.backend.endings, 9 * HOUR)  # type: ignore[arg-type]
    session_id = login(world)
    world.now += HOUR
    world.manager.destroy(store_key(session_id), by="a test")
    traces.settle()
    (story,) = teller(world).of_user("alice")
    assert (story.state, story.why) == ("ended", "revoked")
    assert story.is_near(START + HOUR / 2)
    assert not story.is_near(START + 2 * HOUR)
    traces.close()


def test_what_is_not_known_is_said() -> None:
    told = list(teller(World()).gaps(0))
    assert any("keeps no traces" in gap for gap in told)
    assert any("log alone" in gap for gap in told)
    assert not any("keeps no traces" in gap for gap in teller(World()).gaps(60))


# -- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:03", "2026-03-01T14:03:00+00:00"),
        (" 14:03:09 ", "2026-03-01T14:03:09+00:00"),
        ("22:00", "2026-02-28T22:00:00+00:00"),  # of yesterday
        ("2026-01-02T03:04", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04Z", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02T03:04+01:00", "2026-01-02T02:04:00+00:00"),
    ],
)
def test_a_moment_is_a_time_of_day_or_a_date_and_time(text: str, expected: str) -> None:
    found = moment(text, lambda: datetime(2026, 3, 1, 20, 0, tzinfo=timezone.utc))
    assert datetime.fromtimestamp(found, timezone.utc).isoformat() == expected


@pytest.mark.parametrize("text", ["", "noon", "24:00", "14:60", "2026-01-02", "١٤:٠٣", "1403"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the command words it
        moment(text)


def test_the_last_such_time_of_day_is_not_in_the_future() -> None:
    assert 0 <= time.time() - moment(f"{datetime.now(timezone.utc):%H:%M}") < 86400


def test_pseudonyms_of_former_secrets_lead_to_traces() -> None:
    world = World()
    names = [Pseudonyms(SECRET), Pseudonyms("t" * 40)]
    assert Teller(world.backend, Lifetimes(), names).of_user("alice") == []
