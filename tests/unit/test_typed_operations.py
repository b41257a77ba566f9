"""Operations before a fresh read, where another request has given the key another type."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from worlds import World

from wsgi_sessions.errors import SessionConflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.transaction import Transaction


@pytest.fixture
def world() -> World:
    return World()


def counted(transaction: Transaction) -> None:
    transaction.session.increment("n", 2)


def counted_exactly(transaction: Transaction) -> None:
    transaction.session.increment("n", Decimal(2))


def appended(transaction: Transaction) -> None:
    transaction.session.append("n", "x")


OPERATIONS = pytest.mark.parametrize(
    ("before", "operate", "theirs", "mine"),
    [
        (1, counted, "text", 3),
        (1, counted, None, 3),
        (Decimal(1), counted_exactly, 0.5, Decimal(3)),
        ([1], appended, {"a": 1}, [1, "x"]),
        ([1], appended, 5, [1, "x"]),
    ],
)


def with_another_type(
    world: World, before: object, operate: Callable[[Transaction], None], theirs: object
) -> tuple[str, Transaction]:
    session_id = world.new(n=before, m=1)
    transaction, other = world.begin(session_id), world.begin(session_id)
    operate(transaction)
    other.session["n"] = theirs
    other.commit()
    return session_id, transaction


@OPERATIONS
def test_an_operation_before_a_block_on_a_value_of_another_type_is_a_conflict(
    world: World, before: Any, operate: Any, theirs: Any, mine: Any
) -> None:
    session_id, transaction = with_another_type(world, before, operate, theirs)
    with transaction.session.exclusive():
        assert transaction.session["n"] == mine
        transaction.session["m"] = 2
    assert transaction.commit() == "unchanged"
    assert world.data(session_id) == {"n": mine, "m": 2}
    assert world.conflicts() == [("n", "overwritten")]


@OPERATIONS
def test_it_is_refused_where_conflicts_are(
    before: Any, operate: Any, theirs: Any, mine: Any
) -> None:
    world = World(on_conflict="raise")
    session_id, transaction = with_another_type(world, before, operate, theirs)
    with pytest.raises(SessionConflict), transaction.session.exclusive():
        raise AssertionError("entered")
    assert world.data(session_id)["n"] == theirs


def test_operations_after_such_a_conflict_go_on_from_what_stands(world: World) -> None:
    session_id, transaction = with_another_type(world, 1, counted, "text")
    transaction.catch_up()
    assert transaction.session.increment("n", 4) == 7
    transaction.commit()
    assert world.data(session_id)["n"] == 7
    assert world.conflicts() == [("n", "overwritten")]
