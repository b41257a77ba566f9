"""What a request assigns is a write, whatever it equals, and one value: it is never mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from test_transaction import World

from wsgi_sessions.errors import SessionConflict
from wsgi_sessions.identity import store_key

if TYPE_CHECKING:
    from wsgi_sessions.transaction import Transaction

VIEWER = {"org_id": 1, "role": "viewer"}
ADMIN = {"org_id": 2, "role": "admin"}


@pytest.fixture
def world() -> World:
    return World()


def pair(world: World, session_id: str) -> tuple[Transaction, Transaction]:
    """Two requests that have both read the session before either changes it."""
    one, other = world.begin(session_id), world.begin(session_id)
    one.draft()
    other.draft()
    return one, other


def version(world: World, session_id: str) -> int:
    record = world.backend.sessions.load(store_key(session_id))
    assert record is not None
    return record.version


@pytest.mark.parametrize(("first", "last"), [(VIEWER, ADMIN), (ADMIN, VIEWER)])
def test_of_two_assigned_states_one_stands_though_part_of_it_was_stored(
    world: World, first: dict[str, Any], last: dict[str, Any]
) -> None:
    session_id = world.new(org_id=0, role="viewer")
    one, other = pair(world, session_id)
    one.session.update(first)
    other.session.update(last)
    one.commit()
    other.commit()
    assert world.data(session_id) == last


def test_every_overwritten_key_of_an_assigned_state_is_reported(world: World) -> None:
    session_id = world.new(org_id=0, role="viewer")
    one, other = pair(world, session_id)
    one.session.update(ADMIN)
    other.session.update(VIEWER)
    one.commit()
    other.commit()
    assert world.conflicts() == [("org_id", "overwritten"), ("role", "overwritten")]


def test_an_assignment_of_what_is_stored_is_refused_where_conflicts_are() -> None:
    world = World(on_conflict="raise")
    session_id = world.new(org_id=0, role="viewer")
    one, other = pair(world, session_id)
    one.session["role"] = "admin"
    other.session["role"] = "viewer"
    one.commit()
    with pytest.raises(SessionConflict):
        other.commit()
    assert world.data(session_id)["role"] == "admin"


def test_a_request_that_assigns_only_what_is_stored_writes(world: World) -> None:
    session_id = world.new(role="viewer")
    before = version(world, session_id)
    transaction = world.begin(session_id)
    transaction.session["role"] = "viewer"
    assert transaction.session.modified
    assert transaction.commit() == "saved"
    assert version(world, session_id) == before + 1
    assert not transaction.session.modified


def test_marks_that_are_set_again_are_not_written_again(world: World) -> None:
    """As by Flask, whose permanent sessions say so in each request."""
    session_id = world.new(n=1)
    first = world.begin(session_id)
    first.session.remember(600)
    first.session.keep_alive()
    assert first.commit() == "saved"
    again = world.begin(session_id)
    again.session.remember(600)
    again.session.keep_alive()
    assert not again.session.modified
    assert again.commit() == "unchanged"
