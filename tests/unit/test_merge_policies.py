"""Policies of merges: their laws, in any order of commits, and what a session makes of them."""

from __future__ import annotations

from datetime import date, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from worlds import World, id_of

from wsgi_sessions import ConfigurationError, SessionConflict
from wsgi_sessions.core.merge.delta import Assign, Merged, merge
from wsgi_sessions.core.merge.rules import MergeRules
from wsgi_sessions.core.record.codec import MAX_DEPTH, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.core.session import Session

KEY = "n"


def stored(value: Any) -> dict[str, Raw]:
    """A session with this value; None is an absent one."""
    return {} if value is None else {KEY: Raw(encode(value))}


def committed(policy: Any, base: Any, mine: Any, theirs: Mapping[str, Raw]) -> Merged:
    """What a request leaves that found `base` and assigned `mine`."""
    change = Assign(None if mine is None else encode(mine), "read")
    return merge(stored(base), {KEY: change}, theirs, rules=MergeRules({KEY: policy}))


def after_all(policy: Any, base: Any, *each: Any) -> Any:
    """What is stored after requests that all found `base`. No conflict is allowed."""
    data: Mapping[str, Raw] = stored(base)
    for mine in each:
        result = committed(policy, base, mine, data)
        assert result.conflicts == []
        data = result.data
    return decode(data[KEY]) if KEY in data else None


def merged(policy: Any, base: Any, mine: Any, theirs: Any) -> tuple[Any, list[tuple[str, str]]]:
    result = committed(policy, base, mine, stored(theirs))
    value = decode(result.data[KEY]) if KEY in result.data else None
    return value, [(each.kind, each.why) for each in result.conflicts]


# -- laws ------------------------------------------------------------------------------------------

decimals = st.decimals(-(10**9), 10**9, places=4)
numbers = st.one_of(st.integers(), decimals)
spans = st.timedeltas(timedelta(-9999), timedelta(9999))
moments = st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=2))]))
ordered = [st.integers() | st.floats(allow_nan=False) | decimals, st.text(), moments, spans]
sets = st.sets(st.integers(0, 5))
LAWFUL = [
    *[("sum", kind) for kind in (st.integers(), numbers, spans)],
    *[(name, kind) for name in ("max", "min") for kind in ordered],
    *[("union", kind) for kind in (sets, sets.map(frozenset))],
]


def bare(value: Any) -> Any:
    """An absent number is 0, and an absent set is empty."""
    empty = value in (0, timedelta(), set()) if value is not None else False
    return None if empty else encode(value)


@settings(max_examples=25)
@given(st.data(), st.permutations(range(4)))
@pytest.mark.parametrize(("policy", "values"), LAWFUL)
def test_the_order_of_commits_does_not_matter(
    policy: str, values: st.SearchStrategy[Any], data: st.DataObject, order: list[int]
) -> None:
    base, *each = data.draw(st.tuples(*[st.none() | values] * 5))
    one = after_all(policy, base, *each)
    other = after_all(policy, base, *(each[number] for number in order))
    if policy == "sum":
        one, other = bare(one), bare(other)
    if policy == "union":
        one, other = bare(one), bare(other)
    assert one == other


@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize(("policy", "values"), LAWFUL)
def test_merging_two_first_gives_the_same(
    policy: str, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """As a request does that merges its own two steps before others' are there."""
    base, a, b, c = data.draw(st.tuples(*[st.none() | values] * 4))
    left = after_all(policy, base, after_all(policy, base, a, b), c)
    right = after_all(policy, base, a, after_all(policy, base, b, c))
    assert bare(left) == bare(right)


@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize(
    ("policy", "values"),
    [*LAWFUL, ("append", st.lists(st.integers())), ("first", numbers), ("last", numbers)],
)
def test_who_changes_nothing_has_no_part(
    policy: str, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    base, other = data.draw(st.tuples(values, st.none() | values))
    assert merged(policy, base, base, other) == (other, [])
    assert merged(policy, base, other, base) == (other, [])


@given(st.integers(), st.lists(st.integers(), max_size=6))
def test_a_sum_counts_each_difference(start: int, steps: list[int]) -> None:
    each = [start + step for step in steps]
    assert after_all("sum", start, *each) == start + sum(steps)
    assert (after_all("sum", None, *steps) or 0) == sum(steps)


@given(*[st.floats(-1e9, 1e9)] * 3)
def test_a_sum_of_two_floats_is_the_same_in_either_order(
    base: float, one: float, other: float
) -> None:
    assert after_all("sum", base, one, other) == after_all("sum", base, other, one)


@given(st.lists(st.integers()), st.lists(st.lists(st.integers()), max_size=4))
def test_appended_items_all_stay_in_their_order(base: list[int], tails: list[list[int]]) -> None:
    each = [base + tail for tail in tails]
    assert after_all("append", base, *each) == reduce(list.__add__, tails, base)


@given(st.lists(st.integers(0, 5)), st.lists(st.lists(st.integers(0, 5)), max_size=4))
def test_a_union_of_lists_has_what_any_added_and_none_removed(
    base: list[int], each: list[list[int]]
) -> None:
    added = {item for mine in each for item in mine if item not in base}
    removed = {item for mine in each for item in base if item not in mine}
    assert set(after_all("union", base, *each)) == (set(base) | added) - removed


# -- examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "base", "mine", "theirs", "expected"),
    [
        ("sum", 5, 6, 6, 7),
        ("sum", 5, 6, None, 1),
        ("sum", 5, None, 6, 1),
        ("sum", 1, 1.5, 2, 2.5),
        ("sum", Decimal("1.10"), Decimal("1.20"), 2, Decimal("2.10")),
        ("max", None, 3, 7, 7),
        ("max", 5, 3, 4, 4),
        ("max", 5, None, 7, 7),
        ("min", date(2026, 1, 3), date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 1)),
        ("union", ["a"], ["a", "b"], ["a", "c"], ["a", "c", "b"]),
        ("union", None, ["b", "b"], ["b"], ["b"]),
        ("union", {1}, None, {1, 2}, {2}),
        ("append", [1], [1, 2], [1, 3], [1, 3, 2]),
        ("append", None, [2], [2], [2, 2]),
        ("append", [1], None, [1, 3], [3]),
        ("append", [1], [1, 2], None, [2]),
        ("first", "a", "b", "c", "c"),
        ("last", "a", "b", "c", "b"),
        ("last", ["a"], None, "c", None),
    ],
)
def test_both_changes_count(policy: str, base: Any, mine: Any, theirs: Any, expected: Any) -> None:
    assert merged(policy, base, mine, theirs) == (
        expected or (policy == "min" and mine) or None,
        [],
    )


@pytest.mark.parametrize(
    ("policy", "base", "mine", "theirs", "why"),
    [
        ("sum", 5, "six", 6, "sum does not fit these values (int, str)"),
        ("sum", True, 6, 7, "sum does not fit these values (bool, int)"),
        ("sum", 1.5, 2.5, Decimal(2), "sum does not fit these values (Decimal, float)"),
        ("sum", 1.0, float("inf"), 2.0, "sum does not fit these values (float)"),
        ("sum", 1.0, 2.0, 10**400, "sum does not fit these values (float, int)"),
        ("sum", 1, Decimal("NaN"), 2, "sum does not fit these values (Decimal, int)"),
        ("sum", 1, Decimal("1E+999999"), 2, "sum does not fit these values (Decimal, int)"),
        ("sum", timedelta(0), timedelta.max, timedelta.max, "sum does not fit"),
        ("max", 1, float("nan"), 2, "max does not fit these values (float, int)"),
        ("max", 1, Decimal("sNaN"), 2, "max does not fit these values (Decimal, int)"),
        ("max", 1, "b", 2, "max does not fit these values (int, str)"),
        ("min", [], [1], [2], "min does not fit these values (list)"),
        ("union", [], {1}, [2], "union does not fit these values (list, set)"),
        ("union", 1, 2, 3, "union does not fit these values (int)"),
        ("append", "a", "ab", "ac", "append fits lists only"),
        ("append", [1], [2], [1, 3], "append fits only where items were appended"),
    ],
)
def test_a_policy_that_does_not_fit_is_a_conflict(
    policy: str, base: Any, mine: Any, theirs: Any, why: str
) -> None:
    value, conflicts = merged(policy, base, mine, theirs)
    assert encode(value) == encode(mine)
    ((kind, said),) = conflicts
    assert kind == "unfit"
    assert said.startswith(why)


def raising(_base: Any, _mine: Any, _theirs: Any) -> Any:
    raise KeyError("s3cret")


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (raising, "raising raised KeyError"),
        (lambda _base, _mine, _theirs: object(), "returned what a session cannot hold"),
        (lambda _base, _mine: 1, "raised TypeError"),
    ],
)
def test_a_function_that_fails_is_a_conflict_without_a_value(
    function: Callable[..., Any], why: str
) -> None:
    value, ((kind, said),) = merged(function, 1, 2, 3)
    assert (value, kind) == (2, "unfit")
    assert why in said
    assert "s3cret" not in said


def test_a_function_gets_all_three_and_gives_what_stands() -> None:
    assert merged(lambda *sides: list(sides), 1, 2, 3) == ([1, 2, 3], [])
    assert merged(lambda *sides: list(sides), None, 2, 3) == ([None, 2, 3], [])
    assert merged(lambda *_sides: None, 1, 2, 3) == (None, [])


def test_a_function_cannot_make_a_record_that_does_not_open() -> None:
    def nested(*_sides: Any) -> Any:
        value: Any = 1
        for _ in range(MAX_DEPTH):
            value = [value]
        return value

    rules = MergeRules({"a.b.c": nested})
    base, mine, theirs = ({"a": Raw(encode({"b": {"c": number}}))} for number in (1, 2, 3))
    result = merge(base, {"a": Assign(bytes(mine["a"]))}, theirs, rules=rules)
    assert decode(result.data["a"]) == {"b": {"c": 2}}
    assert [(each.path, each.kind) for each in result.conflicts] == [("a.b.c", "unfit")]


# -- a session -------------------------------------------------------------------------------------


def overlapped(
    rules: Mapping[str, Any],
    base: Mapping[str, Any],
    mine: Callable[[Session], object],
    theirs: Callable[[Session], object],
    **settings: Any,
) -> tuple[World, str]:
    """A world in which two requests have changed a session of `base` at once, mine last."""
    world = World(merge=MergeRules(rules), **settings)
    session_id = world.new(**base)
    first, second = world.begin(session_id), world.begin(session_id)
    for each in (first, second):
        _ = dict(each.session)
    mine(second.session)
    theirs(first.session)
    first.commit()
    second.commit()
    return world, session_id


def count(session: Session) -> None:
    session["n"] = session.get("n", 0) + 1


@pytest.mark.parametrize(("base", "expected"), [({"n": 5}, 7), ({"other": 1}, 2)])
def test_a_naive_increment_counts_beside_another(base: dict[str, Any], expected: int) -> None:
    world, session_id = overlapped({"n": "sum"}, base, count, count)
    assert world.data(session_id)["n"] == expected
    assert world.conflicts() == []


def test_an_increment_counts_beside_a_deletion() -> None:
    def delete(session: Session) -> None:
        del session["n"]

    for mine, theirs in ((count, delete), (delete, count)):
        world, session_id = overlapped({"n": "sum"}, {"n": 5, "m": 1}, mine, theirs)
        assert world.data(session_id)["n"] == 1
        assert world.conflicts() == []


def test_places_in_assigned_dictionaries_merge() -> None:
    def naive(session: Session) -> None:
        stats = session["stats"]
        session["stats"] = {**stats, "n": stats["n"] + 1, "log": [*stats["log"], "x"]}

    rules = {"stats.n": "sum", "stats.l*": "append"}
    base = {"stats": {"n": 5, "log": ["a"], "kept": 1}}
    world, session_id = overlapped(rules, base, naive, naive)
    assert world.data(session_id)["stats"] == {"n": 7, "log": ["a", "x", "x"], "kept": 1}
    assert world.conflicts() == []


def test_a_place_without_a_policy_stays_a_conflict() -> None:
    def named(name: str) -> Callable[[Session], object]:
        return lambda session: session["stats"].update(n=session["stats"]["n"] + 1, by=name)

    world, session_id = overlapped({"*.n": "sum"}, {"stats": {"n": 0}}, named("b"), named("a"))
    assert world.data(session_id)["stats"] == {"n": 2, "by": "b"}
    assert world.conflicts() == [("stats", "overwritten")]


@pytest.mark.parametrize("pattern", ["log.*", "log.errors", "*", "*.*", "log?errors", "l*"])
def test_a_key_with_a_dot_is_matched_like_a_path(pattern: str) -> None:
    def note(session: Session) -> None:
        session["log.errors"] = [*session["log.errors"], "x"]

    world, session_id = overlapped({pattern: "append"}, {"log.errors": []}, note, note)
    assert world.data(session_id) == {"log.errors": ["x", "x"]}


@pytest.mark.parametrize("pattern", ["n.*", "m", "n.n", "N"])
def test_a_pattern_of_another_place_changes_nothing(pattern: str) -> None:
    world, session_id = overlapped({pattern: "sum"}, {"n": 5}, count, count)
    assert world.data(session_id)["n"] == 6
    assert world.conflicts() == [("n", "identical")]


def test_the_first_pattern_that_matches_counts() -> None:
    world, session_id = overlapped({"n": "sum", "*": "fail"}, {"n": 5}, count, count)
    assert world.data(session_id)["n"] == 7


def test_fail_refuses_the_commit_where_it_would_conflict() -> None:
    rules = {"stats.n": "fail"}

    def naive(session: Session) -> None:
        session["stats"] = {"n": session["stats"]["n"] + 1}

    with pytest.raises(SessionConflict) as caught:
        overlapped(rules, {"stats": {"n": 0}}, naive, naive)
    assert [(each.path, each.kind) for each in caught.value.conflicts] == [("stats.n", "identical")]
    with pytest.raises(SessionConflict):
        overlapped({"n": "fail"}, {"n": 0}, count, count)

    def grow(session: Session) -> None:
        session["seen"].add(session.principal or "x")

    world, session_id = overlapped({"seen": "fail"}, {"seen": set()}, grow, grow)
    assert world.data(session_id) == {"seen": {"x"}}


def test_typed_operations_and_defaults_stay_as_they_are() -> None:
    rules = {"n": "sum", "m": "max"}

    def begin(session: Session) -> None:
        session.setdefault("m", 3)
        session.increment("n")

    world, session_id = overlapped(rules, {"x": 1}, begin, begin)
    assert world.data(session_id) == {"x": 1, "n": 2, "m": 3}


def test_an_exclusive_block_merges_what_was_pending() -> None:
    world = World(merge=MergeRules({"n": "sum", "seen": "union"}))
    session_id = world.new(n=5, seen={"a"})
    waiting, other = world.begin(session_id), world.begin(session_id)
    for each, name in ((waiting, "b"), (other, "c")):
        count(each.session)
        each.session["seen"] = each.session["seen"] | {name}
    other.commit()
    with waiting.session.exclusive():
        assert waiting.session["n"] == 7
        count(waiting.session)
    count(waiting.session)
    third = world.begin(session_id)
    count(third.session)
    third.commit()
    waiting.commit()
    assert world.data(session_id) == {"n": 10, "seen": {"a", "b", "c"}}
    assert world.conflicts() == []


def test_changes_follow_a_session_to_its_new_id() -> None:
    world = World(merge=MergeRules({"n": "sum"}))
    session_id = world.new(n=5)
    late, between, cycling = (world.begin(session_id) for _ in range(3))
    for each in (late, between, cycling):
        count(each.session)
    cycling.session.cycle_id()
    between.commit()  # the new id takes this one along
    assert cycling.commit() == "cycled"
    late.commit()
    assert world.data(id_of(cycling)) == {"n": 8}


def test_a_save_whose_reply_was_lost_counts_once() -> None:
    world = World(merge=MergeRules({"n": "sum"}))
    session_id = world.new(n=5)
    transaction, other = world.begin(session_id), world.begin(session_id)
    count(transaction.session)
    count(other.session)
    save = world.backend.sessions.save

    def twice(*args: Any, **more: Any) -> int:
        world.backend.sessions.save = save  # type: ignore[method-assign]
        save(*args, **more)
        other.commit()
        return save(*args, **more)

    world.backend.sessions.save = twice  # type: ignore[method-assign]
    transaction.commit()
    assert world.data(session_id)["n"] == 7


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"a b": "sum"}, "'a b' is not a path such as visits or cart.*.count"),
        ({"": "sum"}, "'' is not a path"),
        ({"a..b": "sum"}, "'a..b' is not a path"),
        ({"a": "add"}, "'a': must be a function, or one of sum, max, min"),
    ],
)
def test_a_rule_that_means_nothing_stops_the_start(rules: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MergeRules(rules)
    assert says in str(caught.value)
