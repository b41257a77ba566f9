"""The three-way merge, and the workspace that makes its deltas."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from strategies import session_data

from wsgi_sessions.core.merge.conflict import Conflict
from wsgi_sessions.core.merge.delta import ABSENT, Assign, Increment, Mutate, Operate, merge
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.values.workspace import Workspace
from wsgi_sessions.errors import UnserializableValue

if TYPE_CHECKING:
    import random

Data = dict[str, Any]


def raw(data: Data) -> dict[str, Raw]:
    return {key: Raw(encode(value)) for key, value in data.items()}


def plain(data: dict[str, Raw]) -> Data:
    return {key: decode(bytes(value)) for key, value in data.items()}


def changed(base: Data, to: Data, *, read: bool = False) -> Workspace:
    """A workspace on `base` that has been made equal to `to`: containers in place."""
    workspace = Workspace(raw(base))
    for key in list(base):
        if read:
            workspace.get(key)
        if key not in to:
            workspace.delete(key)
    for key, value in to.items():
        if read:
            workspace.get(key)
        if key in base and encode(base[key]) == encode(value):
            continue
        if isinstance(value, (dict, list, set)) and type(base.get(key, value)) is type(value):
            become(workspace.default(key, type(value)()), value)
        else:
            workspace.set(key, value)
    return workspace


def become(held: Any, value: Any) -> None:
    held.clear()
    if isinstance(held, list):
        held.extend(value)
    else:
        held.update(value)


def merged(
    base: Data, mine: Data, theirs: Data, *, read: bool = False
) -> tuple[Data, list[Conflict]]:
    result = merge(raw(base), changed(base, mine, read=read).delta(), raw(theirs))
    return plain(result.data), result.conflicts


def same(one: Data, other: Data) -> bool:
    return {k: encode(v) for k, v in one.items()} == {k: encode(v) for k, v in other.items()}


# -- laws --------------------------------------------------------------------------------------


@given(session_data, session_data)
def test_without_others_my_changes_stand(base: Data, mine: Data) -> None:
    result, conflicts = merged(base, mine, base, read=True)
    assert same(result, mine)
    assert conflicts == []


@given(session_data, session_data)
def test_without_my_changes_theirs_stand(base: Data, theirs: Data) -> None:
    result, conflicts = merged(base, base, theirs)
    assert same(result, theirs)
    assert conflicts == []


@given(session_data, session_data)
def test_a_merge_with_itself_is_identity(base: Data, mine: Data) -> None:
    result, conflicts = merged(base, mine, mine)
    assert same(result, mine)
    assert {conflict.kind for conflict in conflicts} <= {"identical"}


@given(session_data, session_data, session_data)
def test_disjoint_changes_of_both_sides_stay(base: Data, mine: Data, theirs: Data) -> None:
    mine = {k: v for k, v in mine.items() if k < "d"} | {k: v for k, v in base.items() if k >= "d"}
    theirs = {k: v for k, v in theirs.items() if k >= "d"} | {
        k: v for k, v in base.items() if k < "d"
    }
    result, conflicts = merged(base, mine, theirs)
    expected = {k: v for k, v in mine.items() if k < "d"}
    expected |= {k: v for k, v in theirs.items() if k >= "d"}
    assert same(result, expected)
    assert conflicts == []


@given(session_data, session_data, session_data)
def test_a_merge_is_deterministic_and_leaves_its_input_alone(
    base: Data, mine: Data, theirs: Data
) -> None:
    base_raw, theirs_raw = raw(base), raw(theirs)
    delta = changed(base, mine).delta()
    first = merge(base_raw, delta, theirs_raw)
    assert merge(base_raw, delta, theirs_raw) == first
    assert same(plain(theirs_raw), theirs)
    assert same(plain(base_raw), base)


@given(session_data, session_data, session_data)
def test_each_key_is_mine_or_theirs_or_a_container_of_both(
    base: Data, mine: Data, theirs: Data
) -> None:
    result, conflicts = merged(base, mine, theirs)
    paths = {conflict.path for conflict in conflicts}
    for key in {*base, *mine, *theirs}:
        b, m, t, r = (
            data.get(key, ABSENT) if key in data else ABSENT
            for data in (base, mine, theirs, result)
        )
        encodings = {None if v is ABSENT else encode(v) for v in (b, m, t)}
        if len(encodings) == 3 and key in paths:
            assert (r is ABSENT and m is ABSENT) or encode(r) == encode(m)


@given(
    st.lists(st.integers(-5, 5), max_size=4),
    st.lists(st.integers(-5, 5), max_size=4),
    st.integers(-10, 10),
)
def test_increments_commute(first: list[int], second: list[int], start: int) -> None:
    def delta(steps: list[int]) -> Any:
        workspace = Workspace(raw({"n": start}))
        for by in steps:
            workspace.increment("n", by)
        return workspace.delta()

    base = raw({"n": start})
    one = merge(base, delta(second), merge(base, delta(first), base).data)
    other = merge(base, delta(first), merge(base, delta(second), base).data)
    assert plain(one.data) == plain(other.data) == {"n": start + sum(first) + sum(second)}
    assert one.conflicts == other.conflicts == []


@given(st.lists(st.integers(), max_size=4), st.lists(st.integers(), max_size=4))
def test_appends_of_both_sides_all_stay_in_their_order(first: list[int], second: list[int]) -> None:
    def delta(items: list[int]) -> Any:
        workspace = Workspace(raw({"log": ["start"]}))
        for item in items:
            workspace.append("log", item)
        return workspace.delta()

    base = raw({"log": ["start"]})
    result = merge(base, delta(second), merge(base, delta(first), base).data)
    assert plain(result.data) == {"log": ["start", *first, *second]}
    assert result.conflicts == []


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_sets_merge_by_additions_and_removals(
    base: set[int], mine: set[int], theirs: set[int]
) -> None:
    result, conflicts = merged({"s": base}, {"s": mine}, {"s": theirs})
    expected = {
        item
        for item in range(10)
        if (item in mine) == (item in theirs) == True  # noqa: E712  # all three
        or ((item in mine) != (item in theirs) and item not in base)
    }
    assert result == {"s": expected}
    assert conflicts == []


# -- examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected"),
    [
        ({"d": {}}, {"d": {"a": 1}}, {"d": {"b": 2}}, {"d": {"b": 2, "a": 1}}),
        ({}, {"d": {"a": 1}}, {"d": {"b": 2}}, {"d": {"b": 2, "a": 1}}),
        (
            {"d": {"x": {"y": 1}}},
            {"d": {"x": {"y": 1, "z": 2}}},
            {"d": {"x": {}}},
            {"d": {"x": {"z": 2}}},
        ),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}, {"l": [1, 3, 2]}),
        ({}, {"l": ["a"]}, {"l": ["b"]}, {"l": ["b", "a"]}),
        ({"d": {"l": [1]}}, {"d": {"l": [1, 2]}}, {"d": {"l": [1, 3]}}, {"d": {"l": [1, 3, 2]}}),
        (
            {"d": {"f": frozenset({1})}},
            {"d": {"f": frozenset()}},
            {"d": {"f": frozenset({1, 2})}},
            {"d": {"f": frozenset({2})}},
        ),
    ],
)
def test_containers_merge(base: Data, mine: Data, theirs: Data, expected: Data) -> None:
    assert merged(base, mine, theirs) == (expected, [])


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "path"),
    [
        ({"n": 0}, {"n": 1}, {"n": 2}, "n"),
        ({}, {"n": 1}, {"n": 2}, "n"),
        ({"n": 0}, {}, {"n": 2}, "n"),
        ({"n": 0}, {"n": 2}, {}, "n"),
        ({"n": 0}, {"n": 1}, {"n": 1.0}, "n"),
        ({"d": {"a": 0}}, {"d": {"a": 1}}, {"d": {"a": 2}}, "d.a"),
        ({"l": [1, 2]}, {"l": [1]}, {"l": [1, 2, 3]}, "l"),
        ({"l": [1]}, {"l": [0, 1]}, {"l": [1, 2]}, "l"),
        ({"v": []}, {"v": {}}, {"v": [1]}, "v"),
        ({"t": (1,)}, {"t": (1, 2)}, {"t": (1, 3)}, "t"),
        ({"v": 5}, {"v": [1]}, {"v": [2]}, "v"),
        ({"l": [1, 2]}, {"l": [1, 2, 3]}, {"l": [2]}, "l"),
    ],
)
def test_anything_else_is_a_conflict_and_mine_stands(
    base: Data, mine: Data, theirs: Data, path: str
) -> None:
    result, conflicts = merged(base, mine, theirs)
    assert result == mine
    assert conflicts == [Conflict(path, "overwritten")]


@pytest.mark.parametrize(
    ("base", "both", "paths"),
    [
        ({"n": 5}, {"n": 6}, ["n"]),
        ({}, {"n": 1}, ["n"]),
        ({"d": {"n": 1, "m": 1}}, {"d": {"n": 2, "m": 1}}, ["d.n"]),
        ({"l": [1]}, {"l": [1, 2]}, ["l"]),
        ({"s": {1}}, {"s": {1, 2}}, []),
        ({"x": 1}, {}, []),
    ],
)
def test_an_equal_change_after_reading_is_reported(
    base: Data, both: Data, paths: list[str]
) -> None:
    """Two requests that both count 5 up to 6 agree, and yet one of them is lost."""
    result, conflicts = merged(base, both, both, read=True)
    assert result == both
    assert conflicts == [Conflict(path, "identical") for path in paths]


def test_an_equal_change_inside_of_different_values_is_reported_too() -> None:
    base, mine, theirs = {"n": 1, "m": 1}, {"n": 2, "m": 1}, {"n": 2, "m": 5}
    result, conflicts = merged({"d": base}, {"d": mine}, {"d": theirs}, read=True)
    assert result == {"d": theirs}
    assert conflicts == [Conflict("d.n", "identical")]


def test_an_equal_blind_change_is_not_a_conflict() -> None:
    assert merged({"theme": "light"}, {"theme": "dark"}, {"theme": "dark"}) == (
        {"theme": "dark"},
        [],
    )


@pytest.mark.parametrize("theirs", [{"x": 2}, {"x": 1}, {"x": None}, {"x": [1]}])
def test_a_default_gives_way_to_values_that_others_set(theirs: Data) -> None:
    workspace = Workspace(raw({}))
    assert workspace.default("x", 1) == 1
    result = merge(raw({}), workspace.delta(), raw(theirs))
    assert (plain(result.data), result.conflicts) == (theirs, [])
    workspace.rebase(raw(theirs))
    assert workspace.delta() == {}


def test_a_default_that_no_other_request_set_stays() -> None:
    workspace = Workspace(raw({"y": 1}))
    workspace.default("x", 5)
    workspace.rebase(raw({"z": 1}))
    assert plain(merge(raw({}), workspace.delta(), raw({})).data) == {"x": 5}
    workspace.restore(raw({"z": 1}), workspace.delta())
    assert plain(merge(raw({}), workspace.delta(), raw({"x": 6})).data) == {"x": 6}


def test_a_default_of_a_key_that_is_there_changes_nothing() -> None:
    workspace = Workspace(raw({"x": None}))
    assert workspace.default("x", 5) is None
    assert workspace.delta() == {}


@pytest.mark.parametrize("how", ["set", "increment", "append", "mutate"])
def test_a_change_of_a_default_is_a_change_like_any_other(how: str) -> None:
    workspace = Workspace(raw({}))
    value = workspace.default("x", 1 if how == "increment" else [1])
    if how == "set":
        workspace.set("x", [1, 2])
    elif how == "increment":
        workspace.increment("x", 1)
    elif how == "append":
        workspace.append("x", 2)
    else:
        value.append(2)
    result = merge(raw({}), workspace.delta(), raw({"x": "theirs"}))
    assert plain(result.data) == {"x": 2 if how == "increment" else [1, 2]}
    assert result.conflicts == [Conflict("x", "overwritten")]


def test_a_default_does_not_count_as_reading() -> None:
    workspace = Workspace(raw({}))
    workspace.default("x", 1)
    workspace.set("x", 2)
    result = merge(raw({}), workspace.delta(), raw({"x": 2}))
    assert result.conflicts == []


def test_an_operation_on_a_value_that_changed_its_type_is_a_conflict() -> None:
    base = raw({"n": 1, "log": []})
    workspace = Workspace(base)
    workspace.increment("n", 1)
    workspace.append("log", "x")
    result = merge(base, workspace.delta(), raw({"n": "text", "log": 5}))
    assert plain(result.data) == {"n": 2, "log": ["x"]}
    assert result.conflicts == [Conflict("n", "overwritten"), Conflict("log", "overwritten")]


def test_an_operation_that_overflows_on_theirs_is_a_conflict() -> None:
    base = raw({"n": 1})
    workspace = Workspace(base)
    workspace.increment("n", 0.5)
    result = merge(base, workspace.delta(), raw({"n": 10**400}))
    assert plain(result.data) == {"n": 1.5}
    assert result.conflicts == [Conflict("n", "overwritten")]


# -- the workspace -----------------------------------------------------------------------------


@given(session_data, st.randoms(use_true_random=False))
def test_reading_changes_nothing(data: Data, chance: random.Random) -> None:
    workspace = Workspace(raw(data))
    for key in chance.sample(list(data), chance.randint(0, len(data))):
        workspace.get(key)
    assert sorted(workspace) == sorted(data)
    assert len(workspace) == len(data)
    assert workspace.delta() == {}


class Model:
    """What a workspace should look like: a plain dictionary, whose lists others may hold."""

    def __init__(self, data: Data) -> None:
        self.data = deepcopy(data)
        self.workspace = Workspace(raw(data))
        self.held: list[list[Any]] = []

    def step(self, action: str, key: str, value: Any) -> None:
        if action == "set":
            self.data[key] = deepcopy(value)
            self.workspace.set(key, value)
        elif action == "delete" and key in self.data:
            del self.data[key]
            self.workspace.delete(key)
        elif action == "append" and type(self.data.get(key, [])) is list:
            self.data.setdefault(key, []).append(deepcopy(value))
            self.workspace.append(key, value)
        elif action == "increment" and type(self.data.get(key, 0)) is int:
            self.data[key] = self.data.get(key, 0) + 3
            assert self.workspace.increment(key, 3) == self.data[key]
        elif action == "hold" and type(self.data.get(key)) is list:
            self.held = [self.data[key], self.workspace.get(key)]
        elif action == "mutate":
            for items in self.held:
                items.append("mutated")
        elif action == "rebase":
            self.held = []
            self.workspace.rebase(self.workspace._base)
        elif action == "restore":
            self.held = []
            self.workspace.restore(self.workspace._base, self.workspace.delta())


ACTIONS = ["set", "delete", "append", "increment", "hold", "mutate", "rebase", "restore"]
few_keys = st.sampled_from("abc")
"""So few that most steps meet what others left."""
handy_values: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2), st.none(), st.builds(dict)
)
steps = st.lists(st.tuples(st.sampled_from(ACTIONS), few_keys, handy_values), max_size=12)


@given(st.dictionaries(few_keys, handy_values, max_size=3), steps)
def test_a_workspace_is_a_dictionary_and_its_delta_says_all(data: Data, actions: Any) -> None:
    model = Model(data)
    for action in actions:
        model.step(*action)
        assert sorted(model.workspace) == sorted(model.data)
        assert len(model.workspace) == len(model.data)
    for key, value in model.data.items():
        assert encode(model.workspace.get(key)) == encode(value)
    result = merge(raw(data), model.workspace.delta(), raw(data))
    assert same(plain(result.data), model.data)
    assert result.conflicts == []


@pytest.mark.parametrize(
    ("base", "look"),
    [
        ({"n": 1}, lambda workspace: workspace.get("n")),
        ({}, lambda workspace: workspace.get("n")),
        ({}, lambda workspace: "n" in workspace),
        ({"n": 1}, list),
    ],
)
def test_a_change_after_a_look_may_depend_on_it(base: Data, look: Any) -> None:
    """So that two requests that make it alike are reported: one of them may be lost."""
    workspace = Workspace(raw(base))
    look(workspace)
    workspace.set("n", 5)
    assert workspace.delta() == {"n": Assign(encode(5), "read")}


def test_a_read_of_a_value_just_set_is_not_a_read_of_the_base() -> None:
    workspace = Workspace(raw({"n": 1, "m": 1}))
    workspace.set("n", 5)
    workspace.delete("m")
    assert workspace.get("n") == 5
    assert workspace.get("m") is ABSENT
    workspace.set("m", 5)
    assert workspace.delta() == {key: Assign(encode(5)) for key in "nm"}


@pytest.mark.parametrize("then", ["rebase", "restore", "reset"])
def test_a_read_of_a_request_counts_for_good(then: str) -> None:
    """Also what it sets after an exclusive block or a commit may depend on that."""
    base = raw({"n": 1, "m": 1})
    workspace = Workspace(base)
    workspace.get("n")
    workspace.get("m")
    workspace.set("n", 2)
    if then == "restore":
        workspace.restore(base, workspace.delta())
    else:
        getattr(workspace, then)(base)
        workspace.set("n", 2)
    workspace.set("m", 2)
    assert workspace.delta() == {key: Assign(encode(2), "read") for key in "nm"}


@pytest.mark.parametrize("is_own", [False, True])
def test_a_change_of_an_object_held_after_a_commit_counts_as_read(is_own: bool) -> None:
    workspace = Workspace(raw({"log": [1]}))
    held = [1]
    if is_own:
        workspace.set("log", held)
    else:
        held = workspace.get("log")
    workspace.reset(raw({"log": [1]}))
    held.append(2)
    assert workspace.delta() == {"log": Mutate(encode([1, 2]))}


def test_a_held_object_shows_the_changes_of_others() -> None:
    workspace = Workspace(raw({"log": [1], "cart": [1]}))
    log, cart = workspace.get("log"), workspace.get("cart")
    workspace.reset(raw({"log": [1, "theirs"], "cart": [1]}))
    assert workspace.get("log") == [1, "theirs"]
    assert workspace.get("log") is log
    assert workspace.get("cart") is cart
    assert workspace.delta() == {}


@pytest.mark.parametrize("begin", ["set", "increment"])
def test_operations_start_again_after_a_deletion(begin: str) -> None:
    workspace = Workspace({})
    if begin == "set":
        workspace.set("n", 5)
    else:
        workspace.increment("n", 5)
    workspace.delete("n")
    workspace.increment("n", 1)
    assert workspace.delta() == {"n": Operate((Increment(1),), encode(1))}


def test_changes_of_a_value_that_was_just_set_are_part_of_it() -> None:
    workspace = Workspace(raw({"n": 1, "log": [0]}))
    workspace.set("n", 5)
    assert workspace.increment("n", 3) == 8
    log = [1]
    workspace.set("log", log)
    workspace.append("log", 2)
    log.append(3)
    assert workspace.delta() == {"n": Assign(encode(8)), "log": Assign(encode([1, 2, 3]))}


def test_a_value_that_is_set_is_not_an_operation_even_if_it_equals_one() -> None:
    workspace = Workspace(raw({"n": 1}))
    workspace.increment("n", 1)
    workspace.set("n", 2)
    assert workspace.delta() == {"n": Assign(encode(2))}


def test_operations_stay_operations_on_another_base() -> None:
    workspace = Workspace(raw({"n": 1}))
    workspace.increment("n", 1)
    workspace.rebase(raw({"n": 10}))
    assert workspace.get("n") == 11
    assert workspace.delta() == {"n": Operate((Increment(1),), encode(11))}


def test_nested_mutation_is_found_without_a_flag() -> None:
    workspace = Workspace(raw({"cart": {"items": [1]}, "other": [1]}))
    workspace.get("other")
    workspace.get("cart")["items"].append(2)
    assert list(workspace.delta()) == ["cart"]


def test_an_untouched_value_is_never_decoded_or_rewritten() -> None:
    broken = Raw(b"\xc1")
    base = {"ok": Raw(encode(1)), "broken": broken}
    workspace = Workspace(base)
    workspace.set("ok", 2)
    assert merge(base, workspace.delta(), base).data["broken"] is broken


def test_mixed_numbers_and_wrong_types() -> None:
    workspace = Workspace(raw({"d": Decimal("1.1"), "b": True, "t": "x"}))
    assert workspace.increment("d", Decimal("0.2")) == Decimal("1.3")
    with pytest.raises(TypeError):
        workspace.increment("b", 1)
    with pytest.raises(TypeError):
        workspace.append("t", 1)
    assert list(workspace.delta()) == ["d"]


def test_a_value_that_cannot_be_kept_changes_nothing() -> None:
    workspace = Workspace(raw({"a": 1}))
    with pytest.raises(UnserializableValue):
        workspace.set("a", object())
    with pytest.raises(UnserializableValue):
        workspace.append("log", object())
    assert workspace.get("a") == 1
    assert workspace.delta() == {}


def test_a_mutation_to_an_unsupported_value_is_refused_with_its_path() -> None:
    workspace = Workspace(raw({"cart": [{"price": 1}]}))
    workspace.get("cart")[0]["price"] = object()
    with pytest.raises(UnserializableValue, match=r"cart\[0\]\.price"):
        workspace.delta()


def test_an_operation_then_a_mutation_is_a_plain_change() -> None:
    workspace = Workspace(raw({"log": [1]}))
    workspace.append("log", 2)
    workspace.get("log")[0] = "changed"
    result = merge(raw({"log": [1]}), workspace.delta(), raw({"log": [1]}))
    assert plain(result.data) == {"log": ["changed", 2]}


def test_a_key_that_is_a_number_of_thousands_of_digits_is_merged() -> None:
    """Python refuses to write such a number as text; a conflict's path must not need it."""
    huge = 10**5000
    base, mine, theirs = ({0: 1, huge: n} for n in (0, 1, 2))
    merged = merge(raw({"d": base}), {"d": Mutate(encode(mine))}, raw({"d": theirs}))
    assert decode(merged.data["d"]) == mine
    assert len(merged.conflicts) == 1
