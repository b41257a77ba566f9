"""The merge of nested values: that it follows the rules, written out here, and what it may cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from strategies import any_text, hashables, scalars

from wsgi_sessions import texts
from wsgi_sessions.core.merge import three_way as merging
from wsgi_sessions.core.merge.conflict import Conflict
from wsgi_sessions.core.merge.three_way import Merging
from wsgi_sessions.core.record import codec as serialization
from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.containers import (
    closed_list,
    closed_mapping,
    kind_of,
    opened_list,
    opened_mapping,
)
from wsgi_sessions.errors import CorruptRecord, UnserializableValue

ABSENT: Any = object()


class Reference:
    """The rules of the merge on decoded values, at whatever cost."""

    def __init__(self, *, after_read: bool) -> None:
        self._after_read = after_read
        self.conflicts: list[Conflict] = []

    def merged(self, base: Any, mine: Any, theirs: Any, path: str) -> Any:
        if same(base, theirs):
            return mine
        if same(base, mine):
            return theirs
        if same(mine, theirs):
            if self._after_read:
                self.note_identical(base, mine, path)
            return mine
        kind = type(mine)
        if type(theirs) is kind and (base is ABSENT or type(base) is kind):
            if kind is dict:
                return self.merged_dicts({} if base is ABSENT else base, mine, theirs, path)
            before = [] if base is ABSENT and kind is list else base
            if kind is list and all(same(x[: len(before)], before) for x in (mine, theirs)):
                return theirs + mine[len(before) :]
            if kind in (set, frozenset):
                start = kind() if base is ABSENT else base
                return (theirs | (mine - start)) - (start - mine)
        self.conflicts.append(Conflict(path, "overwritten", "k"))
        return mine

    def merged_dicts(self, base: Any, mine: Any, theirs: Any, path: str) -> Any:
        merged = {}
        for key in [*theirs, *(key for key in mine if key not in theirs)]:
            before, ours, others = (side.get(key, ABSENT) for side in (base, mine, theirs))
            value = self.merged(before, ours, others, f"{path}.{texts.named(key)}")
            if value is not ABSENT:
                merged[key] = value
        return merged

    def note_identical(self, base: Any, mine: Any, path: str) -> None:
        if isinstance(mine, dict) and isinstance(base, dict):
            for key in {**base, **mine}:
                before, after = base.get(key, ABSENT), mine.get(key, ABSENT)
                if not same(before, after):
                    self.note_identical(before, after, f"{path}.{texts.named(key)}")
        elif not isinstance(mine, (set, frozenset)) and mine is not ABSENT:
            self.conflicts.append(Conflict(path, "identical", "k"))


def same(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    return encode(one) == encode(other)


def raw(value: Any) -> Raw | None:
    return None if value is ABSENT else Raw(encode(value))


few = st.sampled_from([0, 1, True, 1.0, "a", "\udc80", None, (1,)])


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=3),
        st.dictionaries(few, children, max_size=4),
        st.dictionaries(st.sampled_from("abc"), children, max_size=3),
        st.sets(few, max_size=3),
        st.frozensets(few, max_size=3),
    )


values: st.SearchStrategy[Any] = st.recursive(few, containers, max_leaves=10)
sides = st.just(ABSENT) | values


@given(sides, sides, sides, st.booleans())
def test_a_merge_follows_the_rules(base: Any, mine: Any, theirs: Any, after_read: bool) -> None:
    reference, merge = Reference(after_read=after_read), Merging()
    expected = reference.merged(base, mine, theirs, "k")
    found = merge.merged("k", raw(base), raw(mine), raw(theirs), after_read=after_read)
    assert found == raw(expected)
    assert merge.conflicts == reference.conflicts


@given(st.dictionaries(any_text, scalars, max_size=4) | st.dictionaries(hashables, values))
def test_a_dictionary_is_closed_as_it_was_before_it_was_opened(value: dict[Any, Any]) -> None:
    encoded = Raw(encode(value))
    assert kind_of(encoded) is dict
    assert closed_mapping(opened_mapping(encoded)) == encoded


@pytest.mark.parametrize("length", [0, 1, 15, 16, 65535, 65536])
def test_a_list_is_closed_as_it_was_before_it_was_opened(length: int) -> None:
    encoded = Raw(encode([7] * length))
    assert kind_of(encoded) is list
    items = opened_list(encoded)
    assert items.number == len(items.data) == length
    assert closed_list(items) == encoded


@given(scalars | st.tuples(scalars))
def test_values_merged_as_a_whole_are_not_containers(value: Any) -> None:
    assert kind_of(Raw(encode(value))) is None


@pytest.mark.parametrize("size", [1, 20, 300, 70_000])
def test_sets_of_any_size_are_recognised(size: int) -> None:
    assert kind_of(Raw(encode(set(range(size))))) is set
    assert kind_of(Raw(encode(frozenset(range(size))))) is frozenset


def nested(depth: int, leaf: Any, mark: int) -> Any:
    for _ in range(depth):
        leaf = {"k": leaf, "m": mark}
    return leaf


def test_no_level_of_a_merge_encodes_what_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nested data of a client costs depth times size."""
    packed: list[object] = []
    pack = serialization._pack
    three = [raw(nested(60, [7] * 10_000, mark)) for mark in range(3)]

    def counted(value: object, depth: int) -> object:
        packed.append(value)
        return pack(value, depth)

    monkeypatch.setattr(serialization, "_pack", counted)
    merge = Merging()
    merged = merge.merged("doc", *three, after_read=False)
    assert len(merge.conflicts) == 60
    assert merged == three[1]
    assert len(packed) < 10_000


def test_a_value_too_wide_to_merge_is_a_conflict_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "MAX_PLACES", 10)
    base, mine, theirs = raw({}), raw({"a": 1}), raw({"b": 2})
    merge = Merging()
    assert merge.merged("few", base, mine, theirs, after_read=False) == raw({"b": 2, "a": 1})
    many = [raw(dict.fromkeys(range(n), 0)) for n in (3, 4, 5)]
    assert merge.merged("many", *many, after_read=False) == many[1]
    assert merge.merged("after", base, mine, theirs, after_read=False) == mine
    assert merge.conflicts == [Conflict(key, "overwritten", key) for key in ("many", "after")]


def test_thousands_of_conflicts_below_a_key_are_one() -> None:
    """Each would have a path of its own, as long as the client chose."""
    three = [raw(nested(50, dict.fromkeys(map(str, range(2000)), n), 0)) for n in range(3)]
    merge = Merging()
    assert merge.merged("doc", *three, after_read=False) == three[1]
    assert merge.conflicts == [Conflict("doc", "overwritten", "doc")]


def test_a_damaged_value_is_reported_and_not_merged() -> None:
    mine, theirs = raw({"a": 1}), raw({"a": 2})
    with pytest.raises(CorruptRecord):
        Merging().merged("k", Raw(b"\x81\xa1a\xc1"), mine, theirs, after_read=False)
    deep = [Raw(b"\x81\xa1k" * 5000 + encode(n)) for n in range(3)]
    with pytest.raises(CorruptRecord):
        Merging().merged("k", *deep, after_read=False)


class Unkept:
    """No value of a session."""


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1, [Unkept()]], "v[1][0]"),
        ({"a": (1, {2: Unkept()})}, "v.a[1][2]"),
        ({Unkept(): 1}, "v.<key>"),
        ({"a": {("b", Unkept()): 1}}, "v.a.<key>[1]"),
        ({frozenset([Unkept()])}, "v{…}{…}"),
    ],
)
def test_an_error_names_the_path_of_an_unsupported_value(value: Any, path: str) -> None:
    with pytest.raises(UnserializableValue) as caught:
        encode(value, "v")
    assert caught.value.path == path


def test_a_value_of_a_long_path_costs_no_more_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of values that can be kept are never put together."""
    key = "k" * 10_000
    monkeypatch.setattr(serialization._Refused, "path", None)
    assert decode(encode(nested(60, {key: [1] * 1000}, 0))) == nested(60, {key: [1] * 1000}, 0)
