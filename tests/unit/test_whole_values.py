"""What a request assigns is a write, whatever it equals, and one value: it is never mixed."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World

from wsgi_sessions.core.commit.pending import Pending
from wsgi_sessions.core.merge.delta import Assign
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.errors import SessionConflict
from wsgi_sessions.identity import store_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.transaction import Transaction

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
def test_one_of_two_assigned_states_stands_though_part_of_it_was_stored(
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


# -- containers --------------------------------------------------------------------------------


ORGS = [{"id": 1, "role": "viewer"}, {"id": 2, "role": "admin"}]
BEFORE = {"id": 0, "role": "viewer"}


@pytest.mark.parametrize("before", [None, BEFORE, [], 5])
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (ORGS[0], ORGS[1]),
        (ORGS[1], ORGS[0]),
        (["a"], ["b"]),
        ({1}, {2}),
        ({"id": 1}, ORGS[1]),
        ({}, ORGS[1]),
    ],
)
def test_one_of_two_assigned_containers_stands_whole(
    world: World, before: Any, mine: Any, theirs: Any
) -> None:
    session_id = world.new(org=before) if before is not None else world.new(n=1)
    one, other = pair(world, session_id)
    one.session["org"] = theirs
    other.session["org"] = mine
    one.commit()
    other.commit()
    assert world.data(session_id)["org"] == mine
    assert world.conflicts() == [("org", "overwritten")]


def test_a_container_that_was_made_again_from_the_old_one_is_assigned_too(world: World) -> None:
    session_id = world.new(org=BEFORE)
    one, other = pair(world, session_id)
    one.session["org"]["role"] = "admin"
    other.session["org"] = {**other.session["org"], "id": 1}
    one.commit()
    other.commit()
    assert world.data(session_id)["org"] == {"id": 1, "role": "viewer"}
    assert world.conflicts() == [("org", "overwritten")]


def in_place(org: dict[str, Any]) -> None:
    """Much as if ORGS[0] had been assigned: with the role that was there."""
    org.update(ORGS[0])


def test_an_assigned_value_is_not_changed_in_place_from_an_older_one(world: World) -> None:
    session_id = world.new(org=BEFORE)
    one, other = pair(world, session_id)
    one.session["org"] = dict(ORGS[1])
    in_place(other.session["org"])
    one.commit()
    other.commit()
    assert world.data(session_id)["org"] == ORGS[0]
    assert world.conflicts() == [("org", "overwritten")]


@pytest.mark.parametrize("how", ["deleted", "scalar", "default", "twice", "in place after"])
def test_it_is_known_of_a_container_that_it_was_assigned_however_it_came(
    world: World, how: str
) -> None:
    session_id = world.new(org=BEFORE)
    late = world.begin(session_id)
    in_place(late.session["org"])

    def request(*steps: Callable[[Any], object]) -> None:
        for step in steps:
            transaction = world.begin(session_id)
            step(transaction.session)
            transaction.commit()

    def assign(session: Any) -> None:
        session["org"] = dict(ORGS[1])

    if how == "deleted":
        request(lambda s: s.pop("org"), assign)
    elif how == "default":
        request(lambda s: s.pop("org"), lambda s: s.setdefault("org", dict(ORGS[1])))
    elif how == "scalar":
        request(lambda s: s.update(org=5), assign)
    elif how == "twice":
        request(assign, assign)
    else:
        request(assign, lambda s: s["org"].update(extra=True))
    late.commit()
    assert world.data(session_id)["org"] == ORGS[0]
    assert world.conflicts() == [("org", "overwritten")]


def test_changes_in_place_of_one_assigned_container_merge(world: World) -> None:
    session_id = world.new(n=1)
    first = world.begin(session_id)
    first.session["settings"] = {"tz": "CET", "tags": {1, 2}, "log": [1]}
    first.commit()
    one, other = pair(world, session_id)
    one.session["settings"]["tz"] = "UTC"
    one.session["settings"]["tags"].add(3)
    one.session["settings"]["log"].append("one")
    other.session["settings"]["lang"] = "de"
    other.session["settings"]["tags"].remove(1)
    other.session["settings"]["log"].append("other")
    one.commit()
    other.commit()
    assert world.data(session_id)["settings"] == {
        "tz": "UTC",
        "tags": {2, 3},
        "log": [1, "one", "other"],
        "lang": "de",
    }
    assert world.conflicts() == []


def test_a_value_that_stood_as_a_whole_is_not_mixed_with_the_replaced_one(world: World) -> None:
    """Also where it was a change in place that could not be merged."""
    session_id = world.new(log=[1, 2])
    one, other, late = (world.begin(session_id) for _ in range(3))
    for transaction in (one, other, late):
        transaction.draft()
    late.session["log"].append("late")
    one.session["log"].pop()
    other.session["log"].append("other")
    one.commit()
    other.commit()
    late.commit()
    assert world.data(session_id)["log"] == [1, 2, "late"]
    assert world.conflicts() == [("log", "overwritten")] * 2


@pytest.mark.parametrize(
    ("add", "first", "second", "both"),
    [
        (operator.iadd, ["tea"], ["cup"], ["tea", "cup"]),
        (operator.ior, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        (operator.ior, {1}, {2}, {1, 2}),
    ],
)
def test_an_object_that_is_put_back_under_its_key_was_changed_in_place(
    world: World, add: Any, first: Any, second: Any, both: Any
) -> None:
    """``s["cart"] += ["tea"]`` does so; so does who knows no other way."""
    session_id = world.new(kept=type(first)())
    one, other = pair(world, session_id)
    one.session["kept"] = add(one.session["kept"], first)
    other.session["kept"] = add(other.session["kept"], second)
    one.commit()
    other.commit()
    assert world.data(session_id)["kept"] == both
    assert world.conflicts() == []


def test_an_unchanged_object_that_is_put_back_is_assigned(world: World) -> None:
    session_id = world.new(org=BEFORE)
    one, other = pair(world, session_id)
    one.session["org"] = ORGS[1]
    other.session["org"] = other.session["org"]
    one.commit()
    other.commit()
    assert world.data(session_id)["org"] == BEFORE
    assert world.conflicts() == [("org", "overwritten")]


# -- defaults ----------------------------------------------------------------------------------


def test_defaults_that_were_changed_in_place_merge_from_the_default(world: World) -> None:
    session_id = world.new(n=1)
    one, other = pair(world, session_id)
    for name, transaction in (("one", one), ("other", other)):
        transaction.session.setdefault("log", ["start"]).append(name)
        transaction.session.setdefault("seen", {"start": 0})[name] = 1
        transaction.session.setdefault("tags", {"start"}).add(name)
    one.commit()
    other.commit()
    data = world.data(session_id)
    assert data["log"] == ["start", "one", "other"]
    assert data["seen"] == {"start": 0, "one": 1, "other": 1}
    assert data["tags"] == {"start", "one", "other"}
    assert world.conflicts() == []


def test_appends_to_a_default_and_to_nothing_merge(world: World) -> None:
    session_id = world.new(n=1)
    one, other = pair(world, session_id)
    one.session.append("log", "one")
    other.session.setdefault("log", [])
    other.session.append("log", "other")
    one.commit()
    other.commit()
    assert world.data(session_id)["log"] == ["one", "other"]
    assert world.conflicts() == []


def test_a_default_container_gives_way_and_any_other_default_is_assigned(world: World) -> None:
    session_id = world.new(n=1)
    one, other = pair(world, session_id)
    one.session.update(cart=["tea"], theme="light")
    assert other.session.setdefault("cart", []) == []
    assert other.session.setdefault("theme", "dark") == "dark"
    one.commit()
    other.commit()
    assert world.data(session_id) == {"n": 1, "cart": ["tea"], "theme": "dark"}
    assert world.conflicts() == [("theme", "overwritten")]


def test_a_default_after_a_deletion_is_assigned(world: World) -> None:
    session_id = world.new(cart=["old"])
    one, other = pair(world, session_id)
    one.session["cart"].append("tea")
    del other.session["cart"]
    other.session.setdefault("cart", [])
    one.commit()
    other.commit()
    assert world.data(session_id)["cart"] == []
    assert world.conflicts() == [("cart", "overwritten")]


# -- on a fresher base --------------------------------------------------------------------------


def test_a_value_assigned_before_a_block_stands_whole(world: World) -> None:
    session_id = world.new(org=BEFORE)
    one, other = pair(world, session_id)
    one.session["org"] = dict(ORGS[1])
    in_place(other.session["org"])
    one.commit()
    with other.session.exclusive():
        assert other.session["org"] == ORGS[0]
        third = world.begin(session_id)  # beside the block, of what was assigned first
        third.session["org"]["extra"] = True
        third.commit()
    other.commit()
    assert world.data(session_id)["org"] == ORGS[0]
    assert world.conflicts() == [("org", "overwritten")] * 2


# -- all together ------------------------------------------------------------------------------

roles = st.sampled_from(["viewer", "admin"])
acts = st.lists(
    st.tuples(st.sampled_from(["assign", "in place", "commit"]), st.integers(0, 2), roles),
    max_size=8,
)


@given(acts)
def test_no_value_is_stored_that_mixes_two_assigned_ones(actions: Any) -> None:
    """Each assignment has a number of its own, which its values bear; what is changed in place
    bears that of the container it is in. Whatever overlaps, a container never holds two numbers."""
    world = World()
    session_id = world.new(org={"of": 0, "role": (0, "viewer")})
    requests = [world.begin(session_id) for _ in range(3)]
    for request in requests:
        request.draft()
    for number, (action, index, role) in enumerate(actions, 1):
        session = requests[index].session
        if action == "assign":
            session["org"] = {"of": number, "role": (number, role)}
        elif action == "in place":
            session["org"]["role"] = (session["org"]["of"], role)
        else:
            requests[index].commit()
            requests[index] = world.begin(session_id)
        org = world.data(session_id)["org"]
        assert org["of"] == org["role"][0]
    for request in requests:
        request.commit()
        org = world.data(session_id)["org"]
        assert org["of"] == org["role"][0]


def test_a_container_that_is_deleted_leaves_no_stamp() -> None:
    assigned = Pending({"cart": Assign(encode([]))}, {}, 0.0, "POST /cart").alone()
    assert list(assigned.stamps) == ["cart"]
    left, _ = Pending({"cart": Assign(None)}, {}, 1.0, "POST /empty").onto(assigned, assigned)
    assert left.stamps == {}
