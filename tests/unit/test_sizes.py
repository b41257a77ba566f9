"""Sessions that grow: named keys when one is refused, and a warning in time."""

from __future__ import annotations

from typing import Any

import pytest
from hostile import HOSTILE, assert_harmless
from worlds import World

from wsgi_sessions import texts
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.limits.anonymous import AnonymousRules
from wsgi_sessions.errors import SessionTooLarge

LIMIT = 10_000


@pytest.fixture
def world() -> World:
    return World(max_size=LIMIT)


def warnings(world: World) -> list[dict[str, Any]]:
    return [dict(event.facts) for event in world.events if event.name == "large"]


def change(world: World, session_id: str, **values: object) -> None:
    transaction = world.begin(session_id, "POST /cart")
    transaction.session.update(values)
    transaction.commit()


def test_a_refused_session_names_its_heaviest_keys(world: World) -> None:
    with pytest.raises(SessionTooLarge) as caught:
        world.new(cart="c" * 6000, user=1, history=["h" * 4000], hint="x" * 300, note="n" * 20)
    error = caught.value
    assert [key for key, _ in error.heaviest] == ["cart", "history", "hint"]
    assert 6000 < dict(error.heaviest)["cart"] < 6010
    assert "heaviest are cart (600" in str(error)
    assert "note" not in str(error)
    assert "ccc" not in str(error)


def test_a_hostile_key_is_named_short_and_escaped(world: World) -> None:
    key = HOSTILE.replace("\ud800", "")
    with pytest.raises(SessionTooLarge) as caught:
        world.new(**{key: "x" * LIMIT})
    assert_harmless(str(caught.value), texts.LINE)


def test_a_session_above_half_of_the_limit_is_reported_once(world: World) -> None:
    session_id = world.new(cart="c" * 4000)
    assert warnings(world) == []
    change(world, session_id, note="n" * 2000)
    (fact,) = warnings(world)
    assert fact["limit"] == LIMIT
    assert LIMIT / 2 < fact["size"] < LIMIT
    assert [key for key, _ in fact["keys"]] == ["cart", "note"]
    assert fact["route"] == "POST /cart"
    for number in range(5):  # it stays so
        change(world, session_id, number=number)
    assert len(warnings(world)) == 1
    change(world, session_id, cart="")
    change(world, session_id, cart="c" * 7000)
    assert len(warnings(world)) == 2


def test_one_that_begins_large_is_reported(world: World) -> None:
    world.new(cart="c" * 6000)
    assert len(warnings(world)) == 1


def test_changes_that_were_not_stored_are_not_reported(world: World) -> None:
    session_id = world.new(cart="c")
    with pytest.raises(SessionTooLarge):
        change(world, session_id, cart="c" * LIMIT)
    assert warnings(world) == []


def test_the_limit_of_anonymous_sessions_counts_for_them_alone() -> None:
    anonymous = AnonymousRules(max_size=2000)
    world = World(max_size=LIMIT, lifetimes=Lifetimes(anonymous=anonymous))
    world.new(cart="c" * 1500)
    (fact,) = warnings(world)
    assert fact["limit"] == 2000
    transaction = world.begin()
    transaction.session.login("ada")
    transaction.session["cart"] = "c" * 3000
    transaction.commit()
    assert len(warnings(world)) == 1
