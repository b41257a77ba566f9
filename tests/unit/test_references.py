"""Objects that an application still holds after the session was read afresh or committed: what is
done to them later is stored, or an error names the key."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from late_site import LateSite
from worlds import World, id_of

from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.values.references import MOST_REFERENCES
from wsgi_sessions.errors import StaleValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction

    Others = Callable[[], object]
    Across = Callable[[Transaction, Others], object]


@contextmanager
def undone(transaction: Transaction) -> Iterator[Session]:
    """A block that fails."""
    with suppress(LookupError), transaction.session.exclusive():
        yield transaction.session
        raise LookupError


def watched(transaction: Transaction) -> int:
    """How many objects are watched that the session has no longer."""
    former = transaction.draft().data.former
    return 0 if former is None else len(former.references)


def block(transaction: Transaction, others: Others) -> None:
    others()
    with transaction.session.exclusive():
        pass


def block_that_writes(transaction: Transaction, others: Others) -> None:
    with transaction.session.exclusive():
        others()
        transaction.session["n"] = 2


def at_once(transaction: Transaction, others: Others) -> None:
    others()
    transaction.session["n"] = 2
    transaction.session.commit()


def first_chunk(transaction: Transaction, others: Others) -> None:
    others()
    transaction.session["n"] = 2
    transaction.commit()


def catch_up(transaction: Transaction, others: Others) -> None:
    others()
    transaction.catch_up()


def failed_block(transaction: Transaction, others: Others) -> None:
    others()
    with undone(transaction) as session:
        session["n"] = 2


def block_with_a_logout_that_failed(transaction: Transaction, others: Others) -> None:
    others()
    with undone(transaction) as session:
        session.flush()


ACROSS = [
    *(block, block_that_writes, at_once, first_chunk, catch_up, failed_block),
    block_with_a_logout_that_failed,
]
EVERY = pytest.mark.parametrize("across", ACROSS, ids=lambda across: across.__name__)
KINDS = pytest.mark.parametrize("kind", [list, dict, set])


@pytest.fixture
def world() -> World:
    return World()


def add(held: Any, name: str) -> None:
    if isinstance(held, list):
        held.append(name)
    elif isinstance(held, dict):
        held[name] = True
    else:
        held.add(name)


def names_in(held: Any) -> list[str]:
    return sorted(held)


def others_add(world: World, session_id: str, name: str = "others") -> None:
    transaction = world.begin(session_id)
    add(transaction.session["held"], name)
    transaction.commit()


def nobody() -> None:
    """No other request."""


@EVERY
@KINDS
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_changes_of_a_held_object_are_stored(
    world: World,
    across: Across,
    kind: type,
    alone: bool,  # whether nobody else changes it
    before: bool,  # whether it was changed before
) -> None:
    session_id = world.new(held=kind(), n=1)
    transaction = world.begin(session_id)
    held, expected = transaction.session["held"], ["after"]
    if before:
        add(held, "before")
        expected.append("before")
    if not alone:
        expected.append("others")
    across(transaction, nobody if alone else lambda: others_add(world, session_id))
    add(held, "after")
    assert names_in(transaction.session["held"]) == sorted(expected)
    assert transaction.session.modified
    transaction.commit("closed")
    assert names_in(world.data(session_id)["held"]) == sorted(expected)
    assert world.conflicts() == []


@EVERY
@KINDS
def test_the_same_holds_for_an_object_of_the_application(
    world: World, across: Across, kind: type
) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    held: Any = kind()
    transaction.session["held"] = held
    across(transaction, nobody)
    add(held, "after")
    transaction.commit("closed")
    assert names_in(world.data(session_id)["held"]) == ["after"]


@EVERY
def test_the_same_holds_for_its_contents(world: World, across: Across) -> None:
    session_id = world.new(held={"inner": {"list": [1]}}, n=1)
    transaction = world.begin(session_id)
    inner = transaction.session["held"]["inner"]["list"]
    across(transaction, lambda: others_add(world, session_id))
    inner.append(2)
    transaction.commit("closed")
    assert world.data(session_id)["held"] == {"inner": {"list": [1, 2]}, "others": True}


def test_an_object_of_the_application_is_never_changed(world: World) -> None:
    """It may be a constant, which all requests share."""
    constant = {"theme": "light", "inner": {"a": 1}}
    known = deepcopy(constant)
    session_id = world.new(own={}, n=1)
    transaction = world.begin(session_id)
    transaction.session["held"] = constant
    transaction.session["own"]["held"] = constant
    transaction.commit()
    other = world.begin(session_id)
    for held in (other.session["held"], other.session["own"]["held"]):
        held["theme"] = held["inner"]["a"] = "dark"
    other.commit()
    transaction.catch_up()
    assert constant == known
    assert transaction.session["held"]["inner"] == {"a": "dark"}
    assert transaction.session["own"]["held"]["inner"] == {"a": "dark"}
    transaction.session["held"]["theme"] = "blue"
    assert constant == known


@EVERY
def test_an_object_of_the_session_shows_what_is_there_by_now(world: World, across: Across) -> None:
    session_id = world.new(held={"n": 1, "inner": {"n": 1}}, n=1)
    transaction = world.begin(session_id)
    held = transaction.session["held"]
    across(transaction, lambda: others_count(world, session_id))
    assert held == {"n": 5, "inner": {"n": 5}}
    assert transaction.session["held"] is held
    held["n"] += 1
    transaction.commit("closed")
    assert world.data(session_id)["held"] == {"n": 6, "inner": {"n": 5}}
    assert world.conflicts() == []


def others_count(world: World, session_id: str) -> None:
    other = world.begin(session_id)
    held = other.session["held"]
    for part in (held, held["inner"]):
        part["n"] = 5
    other.commit()


@EVERY
def test_a_failed_merge_is_an_error_that_names_the_key(world: World, across: Across) -> None:
    session_id = world.new(held={"n": 1, "inner": {"n": 1}}, n=1)
    transaction = world.begin(session_id)
    inner = transaction.session["held"]["inner"]
    across(transaction, lambda: others_count(world, session_id))
    inner["n"] += 1
    with pytest.raises(StaleValue, match="held"):
        transaction.commit("closed")
    assert world.data(session_id)["held"] == {"n": 5, "inner": {"n": 5}}


@EVERY
def test_values_that_others_deleted_do_not_come_back(world: World, across: Across) -> None:
    def others() -> None:
        other = world.begin(session_id)
        del other.session["held"]
        other.commit()

    session_id = world.new(held=[1], n=1)
    transaction = world.begin(session_id)
    held = transaction.session["held"]
    across(transaction, others)
    held.append(2)
    with pytest.raises(StaleValue, match="held"):
        transaction.commit("closed")
    assert "held" not in world.data(session_id)


@pytest.mark.parametrize("value", ["undone", object()])
def test_changes_of_an_object_in_a_failed_block_are_undone_in_it(
    world: World, value: object
) -> None:
    session_id = world.new(held=["a"])
    transaction = world.begin(session_id)
    held = transaction.session["held"]
    with undone(transaction):
        held.append(value)
    assert held == ["a"]
    assert transaction.session["held"] is held
    assert not transaction.session.modified
    held.append("b")
    transaction.commit()
    assert world.data(session_id)["held"] == ["a", "b"]


@pytest.mark.parametrize("value", ["undone", object()])
def test_changes_of_an_application_s_object_in_a_failed_block_do_not_come_back_with_it(
    world: World, value: object
) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    held: list[Any] = []
    transaction.session["held"] = held
    with undone(transaction):
        held.append(value)
    assert transaction.session["held"] == []
    assert held == [value]
    held[:] = ["undone, then changed"]
    with pytest.raises(StaleValue, match="held"):
        transaction.commit()
    assert "held" not in world.data(session_id)


def test_values_assigned_in_a_failed_block_are_ignored(world: World) -> None:
    session_id = world.new(n=1)
    transaction = world.begin(session_id)
    item: list[int] = []
    with undone(transaction) as session:
        session["item"] = item
    item.append(1)
    assert transaction.commit() == "unchanged"


def test_an_object_that_was_replaced_is_of_no_concern(world: World) -> None:
    session_id = world.new(held=["a"], gone=["a"])
    transaction = world.begin(session_id)
    held, gone = transaction.session["held"], transaction.session["gone"]
    others_add(world, session_id)
    transaction.catch_up()
    transaction.session["held"] = ["new"]
    del transaction.session["gone"]
    held.append("b")
    gone.append("b")
    transaction.commit()
    assert world.data(session_id) == {"held": ["new"]}


def test_an_object_that_is_changed_and_put_back_is_merged(world: World) -> None:
    session_id = world.new(held=["a"])
    transaction = world.begin(session_id)
    held = transaction.session["held"]
    others_add(world, session_id)
    transaction.catch_up()
    held.append("b")
    transaction.session["held"] = held
    transaction.commit()
    assert world.data(session_id)["held"] == ["a", "others", "b"]


def test_nothing_of_the_former_user_comes_back(world: World) -> None:
    session_id = world.new(held=["of alice"])
    transaction = world.begin(session_id)
    held = transaction.session["held"]
    with transaction.session.exclusive():
        pass
    transaction.session.flush()
    transaction.session["n"] = 1
    held.append("of alice, too")
    assert transaction.commit() == "created"
    assert world.data(id_of(transaction)) == {"n": 1}


def test_rights_that_are_changed_in_a_held_object_give_another_id() -> None:
    world = World(identity=IdentityRules(None, privilege_keys=("held",)))
    session_id = world.new(held={"roles": ["reader"]})
    transaction = world.begin(session_id)
    roles = transaction.session["held"]["roles"]
    with undone(transaction) as session:
        session["held"]["n"] = 1
    roles.append("admin")
    assert transaction.commit() == "cycled"
    assert world.data(id_of(transaction))["held"] == {"roles": ["reader", "admin"]}


def test_a_stream_that_changes_a_stale_object_breaks_off_and_is_reported() -> None:
    site = LateSite()

    def stream(session: Session) -> Iterator[bytes]:
        session["held"] = held = {"n": 1}
        yield b"first"
        site.pages["/other"] = lambda session: session["held"].update(n=5) or [b""]
        site.browser.get("/other")
        with session.exclusive():
            pass
        held["n"] = 2
        yield b"last"

    site.pages["/stream"] = stream
    with pytest.raises(StaleValue, match="held"):
        site.browser.get("/stream")
    (lost,) = [event for event in site.events if event.name == "lost"]
    assert "held" in str(lost.facts["error"])
    assert site.seen()["held"] == {"n": 5}


# -- all together ------------------------------------------------------------------------------

acts = st.lists(
    st.sampled_from(["hold", "change", "others", "block", "commit", "fail", "assign"]), max_size=12
)


@given(acts)
def test_no_item_is_lost_or_doubled_whatever_is_held(actions: list[str]) -> None:
    world = World()
    session_id = world.new(held=[])
    transaction = world.begin(session_id)
    held, expected = [transaction.session["held"]], set()
    for number, action in enumerate(actions):
        name = f"{action} {number}"
        if action == "hold":
            held.append(transaction.session["held"])
        elif action == "change":
            add(held[number % len(held)], name)
            expected.add(name)
        elif action == "others":
            others_add(world, session_id, name)
            expected.add(name)
        elif action == "block":
            with transaction.session.exclusive():
                transaction.session["n"] = number
        elif action == "commit":
            transaction.session.commit()
        elif action == "fail":
            with undone(transaction):
                transaction.session["n"] = number
        else:
            add(held[-1], name)
            expected.add(name)
            transaction.session["held"] = held[-1]
    transaction.commit()
    stored = world.data(session_id)["held"]
    assert sorted(stored) == sorted(expected)
    assert world.conflicts() == []


def test_a_failed_merge_hinders_no_other_key_and_ends_with_an_assignment(
    world: World,
) -> None:
    """So that an application can still read, and answer, and set it right."""
    session_id = world.new(held={"inner": {"n": 1}}, n=1)
    transaction = world.begin(session_id)
    inner = transaction.session["held"]["inner"]
    other = world.begin(session_id)
    other.session["held"]["inner"]["n"] = 5
    other.commit()
    transaction.catch_up()
    inner["n"] = 2
    assert dict(transaction.session) == {"held": {"inner": {"n": 5}}, "n": 1}
    transaction.session["n"] = 2
    with pytest.raises(StaleValue, match="held"):
        transaction.session.commit()
    transaction.session["held"] = {"inner": inner}
    transaction.commit()
    assert world.data(session_id) == {"held": {"inner": {"n": 2}}, "n": 2}


def test_a_request_that_lives_for_hours_watches_no_more_and_no_more_objects(world: World) -> None:
    session_id = world.new(flat=[0], held={"inner": {"n": -1}})
    transaction = world.begin(session_id)
    flat, held = transaction.session["flat"], transaction.session["held"]
    for number in range(3 * MOST_REFERENCES):
        other = world.begin(session_id)
        other.session["flat"].append(number)
        other.session["held"]["inner"]["n"] = number
        if number > 2 * MOST_REFERENCES:
            other.session[f"key {number}"] = number
        other.commit()
        transaction.catch_up()
        if number == MOST_REFERENCES // 2:
            assert watched(transaction) == number + 1
    assert watched(transaction) == MOST_REFERENCES
    assert held["inner"]["n"] == number
    flat.append("mine")
    transaction.commit()
    assert world.data(session_id)["flat"][-2:] == [number, "mine"]
