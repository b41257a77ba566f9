"""`wsgi_sessions.operations.maintenance` and `inspection`: what is deleted, what stays, what is
told."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from around import around
from worlds import HOUR, START, World, id_of, login

from wsgi_sessions.contract import Context
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import seal
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import store_key
from wsgi_sessions.operations.inspection import inspect, live_sessions, matching_keys
from wsgi_sessions.operations.maintenance import (
    ContextClearing,
    Deletion,
    backend_status,
    clear_stale_contexts,
    delete_expired,
    rebuild_index,
)

if TYPE_CHECKING:
    from wsgi_sessions.contract import ContextStore

DAY = 24 * HOUR
LIFETIMES = Lifetimes(idle=30 * DAY, absolute=90 * DAY)


@pytest.fixture
def world() -> World:
    return World(lifetimes=LIFETIMES)


def purge(world: World, older_than: Any = None, **more: Any) -> Deletion:
    return delete_expired(
        world.backend,
        older_than=older_than,
        lifetimes=LIFETIMES,
        clock=lambda: world.now,
        **more,
    )


# -- sessions --------------------------------------------------------------------------------------


def test_without_a_cut_off_only_what_has_expired_goes(world: World) -> None:
    for _ in range(3):
        world.new(n=1)
    world.now += 31 * DAY
    live = world.new(n=2)
    assert delete_expired(world.backend, dry_run=True) == Deletion(3, 0, 3)
    assert purge(world) == Deletion(3, 0, 3)
    assert purge(world) == Deletion(0, 0, 0)
    assert world.data(live) == {"n": 2}


def test_more_than_a_chunk_is_deleted_with_progress(world: World) -> None:
    for number in range(1234):
        world.backend.sessions.create(store_key(str(number)), b"x", START - 1)
    told: list[int] = []
    assert purge(world, on_progress=told.append).expired == 1234
    assert told == [500, 1000, 1234]


@pytest.mark.parametrize("older_than", [7 * DAY, timedelta(days=7)])
def test_with_a_cut_off_what_was_not_used_for_that_long_goes(
    world: World, older_than: float
) -> None:
    unused, read, written = (world.new(n=1) for _ in range(3))
    user = login(world)
    world.now += 7 * DAY
    for session_id, is_write in ((read, False), (written, True)):
        request = world.begin(session_id)
        request.session.get("n")
        if is_write:
            request.session["n"] = 2
        request.commit()
    world.now += 2 * DAY
    counted = delete_expired(
        world.backend,
        dry_run=True,
        older_than=older_than,
        lifetimes=LIFETIMES,
        clock=lambda: world.now,
    )
    assert counted == purge(world, older_than) == Deletion(0, 2, 4)
    assert world.data(unused) == {}
    assert (world.data(read), world.data(written)) == ({"n": 1}, {"n": 2})
    assert world.backend.index.keys_of("alice") == [], user
    assert world.backend.iteration.count() == 2


def test_a_reader_whose_use_was_too_recent_to_be_written_down_is_kept(world: World) -> None:
    session_id = world.new(n=1)
    world.now += 1.4 * DAY  # less than 5 % of the idle lifetime: the expiry does not move
    request = world.begin(session_id)
    assert request.session["n"] == 1
    assert request.commit() == "unchanged"
    world.now += 6 * DAY
    assert purge(world, 7 * DAY).unused == 0
    world.now += 2 * DAY
    assert purge(world, 7 * DAY).unused == 1


def test_a_session_with_an_unknown_last_use_is_kept(world: World) -> None:
    session_id = world.new(n=1)
    for _ in range(7):
        world.now += 11 * DAY
        request = world.begin(session_id)
        request.session["n"] = 2
        request.commit()
    world.now += 8 * DAY
    request = world.begin(session_id)
    assert request.session["n"] == 2
    assert request.commit() == "unchanged", "its expiry is at the absolute lifetime"
    assert purge(world, 7 * DAY).unused == 0


def test_a_session_that_is_in_use_is_kept(world: World) -> None:
    key = store_key(world.new(n=1))
    world.now += 20 * DAY
    assert world.backend.leases is not None
    world.backend.leases.acquire(key, "a stream", 60)
    assert purge(world, 7 * DAY).unused == 0
    world.backend.leases.release(key, "a stream")
    assert purge(world, 7 * DAY).unused == 1


def test_a_session_that_is_changed_at_the_same_time_is_kept(world: World) -> None:
    session_id = world.new(n=1)
    world.now += 20 * DAY
    request = world.begin(session_id)
    request.session["n"] = 2
    around(world.backend.sessions, "save", request.commit)
    assert purge(world, 7 * DAY).unused == 0
    assert world.data(session_id) == {"n": 2}


def test_a_deleted_session_cannot_be_saved_by_a_request_that_still_has_it(world: World) -> None:
    session_id = world.new(n=1)
    world.now += 20 * DAY
    request = world.begin(session_id)
    request.session["n"] = 2
    around(world.backend.sessions, "delete", request.commit)  # after the tombstone
    assert purge(world, 7 * DAY).unused == 1
    assert world.data(session_id) == {}


@pytest.mark.parametrize("older_than", [0, -1, float("nan"), timedelta(0)])
def test_a_cut_off_is_a_time(world: World, older_than: Any) -> None:
    world.new(n=1)
    for dry_run in (False, True):
        with pytest.raises(ValueError, match="above 0"):
            delete_expired(world.backend, dry_run=dry_run, older_than=older_than)
    assert world.backend.iteration.count() == 1


def test_a_lost_index_is_rebuilt(world: World) -> None:
    keys = sorted(store_key(login(world)) for _ in range(3))
    world.new(n=1)
    for key in keys:
        world.backend.index.remove("alice", key)
    told: list[int] = []
    assert rebuild_index(world.backend, on_progress=told.append) == 3
    assert sorted(world.backend.index.keys_of("alice")) == keys
    assert told == [1, 2, 3, 4]


# -- contexts --------------------------------------------------------------------------------------


def contexts_of(world: World) -> ContextStore:
    assert world.backend.contexts is not None
    return world.backend.contexts


def remember(world: World, **values: Any) -> None:
    for principal, value in values.items():
        contexts_of(world).set(principal, "deal", Context(encode(value), START))


def test_contexts_that_lead_nowhere_are_cleared(world: World) -> None:
    remember(world, alice=12, bob=13)
    contexts_of(world).set("damaged", "deal", Context(b"\xc1", START))
    asked: list[tuple[str, str, Any]] = []

    def exists(principal: str, name: str, value: Any) -> bool:
        asked.append((principal, name, value))
        return bool(value == 12)

    assert clear_stale_contexts(world.backend, exists, dry_run=True) == ContextClearing(3, 2)
    assert len(list(contexts_of(world).items())) == 3
    assert clear_stale_contexts(world.backend, exists) == ContextClearing(3, 2)
    assert set(asked) == {("alice", "deal", 12), ("bob", "deal", 13)}
    assert [principal for principal, *_ in contexts_of(world).items()] == ["alice"]


def test_a_context_selected_at_the_same_time_stays(world: World) -> None:
    remember(world, alice=12)

    def selecting(*_: object) -> bool:
        remember(world, alice=14)
        return False

    clear_stale_contexts(world.backend, selecting)
    found = contexts_of(world).get("alice", "deal")
    assert found is not None
    assert found.value == encode(14)


@pytest.mark.parametrize("answer", [None, 0, "no", "denied"])
def test_an_unclear_answer_clears_nothing(world: World, answer: Any) -> None:
    remember(world, alice=12)
    with pytest.raises(TypeError, match="True or False"):
        clear_stale_contexts(world.backend, lambda *_: answer)
    assert contexts_of(world).get("alice", "deal") is not None


# -- status ----------------------------------------------------------------------------------------


def test_status_counts_what_is_there(world: World) -> None:
    world.now = time.time()  # the health check's probe lives by the real clock
    live = store_key(world.new(n=1))
    login(world)
    world.backend.sessions.create(store_key("old"), b"x", world.now - 1)
    remember(world, alice=12)
    assert world.backend.quarantine is not None
    world.backend.quarantine.set_aside(live, 1, "for the test")
    status = backend_status(world.backend)
    assert status.health.healthy
    assert (status.backend, status[2:]) == ("memory", (1, 1, 1, 1))
    assert status.as_dict()["health"]["healthy"] is True


def failing(*_: Any) -> Any:
    raise StoreUnavailable("down, or full")


def test_a_store_that_takes_no_writes_is_counted(world: World) -> None:
    world.new(n=1)
    world.backend.sessions.create = failing  # type: ignore[assignment, method-assign]
    status = backend_status(world.backend)
    assert status.health.healthy
    assert status.sessions == 1


def test_a_store_that_is_down_is_not_counted(world: World) -> None:
    world.backend.sessions.load = failing  # type: ignore[assignment, method-assign]
    world.backend.iteration.count = failing  # type: ignore[method-assign]
    status = backend_status(world.backend)
    assert not status.health.healthy
    assert set(status[2:]) == {None}


def test_a_store_without_an_ability_is_counted_without_it(world: World) -> None:
    world.now = time.time()
    bare = replace(world.backend, expired=None, quarantine=None, contexts=None)
    assert backend_status(bare)[2:] == (0, None, None, None)
    assert delete_expired(bare) == Deletion(0, 0, 0)
    assert clear_stale_contexts(bare, lambda *_: False) == ContextClearing(0, 0)


# -- looking ---------------------------------------------------------------------------------------


def test_looking_tells_all_and_changes_nothing(world: World) -> None:
    session_id = login(world)
    request = world.begin(session_id, "POST /cart")
    request.session["cart"] = ["tea"]
    request.session["café"] = 1.5
    request.session.remember(10 * DAY)
    request.session.keep_alive()
    request.commit()
    key = store_key(session_id)
    world.now += DAY
    before = world.backend.sessions.load(key)
    found = inspect(world.backend, key, LIFETIMES)
    assert found is not None
    assert before == world.backend.sessions.load(key)
    assert (found.principal, found.lifetime, found.version) == ("alice", 10 * DAY, 2)
    assert [tuple(value) for value in found.values] == [
        ("café", "float", 9, 1.5),
        ("cart", "list", 5, ["tea"]),
    ]
    assert [commit.route for commit in found.commits] == ["", "POST /cart"]
    assert found.summary.last_used_at == pytest.approx(START)
    assert found.refreshing.is_kept_alive
    assert found.holders == 0
    assert before is not None
    assert found.size == len(before.payload)


def test_records_other_than_sessions_are_ignored(world: World) -> None:
    session_id = world.new(n=1)
    cycling = world.begin(session_id)
    cycling.session.cycle_id()
    delete = world.backend.sessions.delete
    world.backend.sessions.delete = lambda _: None  # type: ignore[assignment, method-assign]  # a crash
    cycling.commit()
    world.backend.sessions.delete = delete  # type: ignore[method-assign]
    world.backend.sessions.create(store_key("damaged"), b"x", world.now + DAY)
    assert [found.key for found in live_sessions(world.backend)] == [store_key(id_of(cycling))]
    assert inspect(world.backend, store_key(session_id), LIFETIMES) is None
    assert inspect(world.backend, store_key("nobody"), LIFETIMES) is None


def test_a_value_that_does_not_decode_is_reported(world: World) -> None:
    session_id = world.new(n=1)
    found = next(live_sessions(world.backend))
    found.envelope.data["broken"] = type(found.envelope.data["n"])(b"\xc7\x01\x63x")
    payload = seal(found.envelope, found.key)
    world.backend.sessions.save(found.key, payload, world.now + DAY, expected_version=1)
    details = inspect(world.backend, store_key(session_id), LIFETIMES)
    assert details is not None
    assert [(v.key, v.type) for v in details.values] == [("broken", "damaged"), ("n", "int")]


@pytest.mark.parametrize("cut", [1, 10, 63, 64])
def test_keys_are_found_by_their_beginning(world: World, cut: int) -> None:
    keys = sorted(store_key(world.new(n=1)) for _ in range(5))
    found = matching_keys(world.backend, keys[0][:cut], limit=9)
    assert sorted(found) == [key for key in keys if key.startswith(keys[0][:cut])]
    assert matching_keys(world.backend, "x" * cut) == []
    assert len(matching_keys(world.backend, "", limit=2)) == 2
