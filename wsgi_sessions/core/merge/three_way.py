"""The three-way merge of encoded values, and the bound to what it may cost. Pure.

Equal values have equal bytes, so a container is opened only where all three sides differ in it, and
then one level deep.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw

from wsgi_sessions import texts
from wsgi_sessions.core.merge.conflict import Conflict
from wsgi_sessions.core.merge.policies import Unfit
from wsgi_sessions.core.record.codec import MAX_DEPTH, decode, encode
from wsgi_sessions.core.record.containers import (
    Items,
    closed_list,
    closed_mapping,
    kind_of,
    opened_list,
    opened_mapping,
)
from wsgi_sessions.errors import CorruptRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from wsgi_sessions.core.merge.conflict import ConflictKind
    from wsgi_sessions.core.merge.policies import Policy
    from wsgi_sessions.core.merge.rules import PlaceRules

MAX_PLACES = 100_000
"""The most keys of dictionaries, on both sides, that the merge of one session visits."""
_CONFLICT = 100  # the weight of a conflict, in places: its path is long
_BYTES = 10_000  # bytes of an opened container that count as one place
_POLICY_BYTES = 10  # bytes that a policy decodes, which count as one place

_NO_MAPPING, _NO_LIST = Raw(b"\x80"), Raw(b"\x90")
_LIST_OF_ONE = b"\x91"


class Merging:
    """The merge of one session: its `conflicts` so far, and how many `places` it may still visit.

    A client may choose how deep and how wide the values are that two of its requests change. Once
    `MAX_PLACES` are visited, values are no longer merged: each is a conflict as a whole, like two
    values of different types. `wholes` are the keys under which mine stands as a whole.
    """

    __slots__ = ("conflicts", "places", "wholes")

    def __init__(self) -> None:
        self.conflicts: list[Conflict] = []
        self.places = MAX_PLACES
        self.wholes: set[str] = set()

    def whole(self, key: str, mine: Raw | None) -> Raw | None:
        """Return my value, with nothing of theirs in it."""
        if mine is not None:
            self.wholes.add(key)
        return mine

    def overwritten(self, key: str, mine: Raw | None) -> Raw | None:
        """Return my value, which stands as the later one, though theirs differs."""
        self.conflicts.append(Conflict(key, "overwritten", key))
        return self.whole(key, mine)

    def refuse(self, start: int) -> None:
        """Make the conflicts from this one on a reason not to commit."""
        self.conflicts[start:] = [replace(each, is_refused=True) for each in self.conflicts[start:]]

    def merged(
        self,
        key: str,
        base: Raw | None,
        mine: Raw | None,
        theirs: Raw | None,
        *,
        after_read: bool,
        rules: PlaceRules | None = None,
    ) -> Raw | None:
        """Return the merged value of a key; None is an absent one. Raises CorruptRecord.

        Equal changes are conflicts too, of kind "identical", where mine was made `after_read`,
        except where the `rules` have a policy.
        """
        merge = _KeyMerge(key, self.places, after_read)
        try:
            value = merge.value(base, mine, theirs, _ValuePath(key), rules)
        except _TooCostly:
            self.places = 0
            self.overwritten(key, mine)
            if rules is not None and rules.may_refuse:
                self.refuse(len(self.conflicts) - 1)
            return mine
        self.places = merge.places
        self.conflicts += merge.conflicts
        return self.whole(key, value) if merge.is_whole else value


class _TooCostly(Exception):
    """The merge would cost too much."""


@texts.shows("depth")
class _ValuePath(NamedTuple):
    """The place of a value. It becomes a path only for a conflict."""

    step: Any
    outer: _ValuePath | None = None
    depth: int = 0

    def inside(self, step: object) -> _ValuePath:
        return _ValuePath(step, self, self.depth + 1)

    def path(self) -> str:
        steps, place = [], self
        while place.outer is not None:
            steps.append(texts.named(place.step))
            place = place.outer
        return ".".join([place.step, *reversed(steps)])


class _KeyMerge:
    """The merge of one key's value."""

    __slots__ = ("_after_read", "_key", "conflicts", "is_whole", "places")

    def __init__(self, key: str, places: int, after_read: bool) -> None:  # noqa: FBT001  # a fact
        self._key = key
        self._after_read = after_read
        self.places = places
        self.is_whole = False
        self.conflicts: list[Conflict] = []

    def value(
        self,
        base: Raw | None,
        mine: Raw | None,
        theirs: Raw | None,
        place: _ValuePath,
        rules: PlaceRules | None = None,
    ) -> Raw | None:
        if base == theirs:
            return mine
        if base == mine:
            return theirs
        if rules is not None and rules.policy is not None:
            return self._by_policy(rules.policy, base, mine, theirs, place)
        start = len(self.conflicts)
        value = self._plainly(base, mine, theirs, place, rules)
        if rules is not None and rules.refuses:
            refused = [replace(each, is_refused=True) for each in self.conflicts[start:]]
            self.conflicts[start:] = refused
        return value

    def _plainly(
        self,
        base: Raw | None,
        mine: Raw | None,
        theirs: Raw | None,
        place: _ValuePath,
        rules: PlaceRules | None,
    ) -> Raw | None:
        """Return the merged value of a place without a policy of its own."""
        # With rules for what is inside, equal dictionaries are opened too: both may have counted.
        if mine == theirs and (rules is None or not rules.below or _is_no_mapping(mine)):
            if self._after_read:
                self._note_identical(base, mine, place)
            return mine
        merged = self._container(base, mine, theirs, place, rules)
        return self._mine(mine, place, "overwritten") if merged is None else merged

    def _by_policy(
        self,
        policy: Policy,
        base: Raw | None,
        mine: Raw | None,
        theirs: Raw | None,
        place: _ValuePath,
    ) -> Raw | None:
        size = sum(len(memoryview(each)) for each in (base, mine, theirs) if each is not None)
        self._visit(size // _POLICY_BYTES)
        try:
            value = policy(base, mine, theirs)
        except Unfit as unfit:
            return self._mine(mine, place, "unfit", str(unfit))
        if value is not None and not _fits(value, place.depth):
            return self._mine(mine, place, "unfit", "the merged value is nested too deep")
        self.is_whole = place.outer is None and value == mine
        return value

    def _mine(
        self, mine: Raw | None, place: _ValuePath, kind: ConflictKind, why: str = ""
    ) -> Raw | None:
        """Return my value, which stands as the later one."""
        self._conflict(place, kind, why)
        self.is_whole = place.outer is None
        return mine

    def _container(
        self,
        base: Raw | None,
        mine: Raw | None,
        theirs: Raw | None,
        place: _ValuePath,
        rules: PlaceRules | None,
    ) -> Raw | None:
        """Return the merged container, or None if the three cannot be merged."""
        if mine is None or theirs is None:
            return None
        kind = kind_of(mine)
        if kind_of(theirs) is not kind or not (base is None or kind_of(base) is kind):
            return None
        if kind is dict:
            return self._mapping(base or _NO_MAPPING, mine, theirs, place, rules)
        if kind is list:
            return _list(base or _NO_LIST, mine, theirs)
        if kind is set or kind is frozenset:
            return _set(kind() if base is None else decode(base), decode(mine), decode(theirs))
        return None

    def _mapping(
        self, base: Raw, mine: Raw, theirs: Raw, place: _ValuePath, rules: PlaceRules | None
    ) -> Raw:
        before, ours, others = (self._opened(value, place) for value in (base, mine, theirs))
        merged = {}
        for key in [*others, *(key for key in ours if key not in others)]:
            inner = None if rules is None else rules.inside(key)
            inside = place.inside(key)
            value = self.value(before.get(key), ours.get(key), others.get(key), inside, inner)
            if value is not None:
                merged[key] = value
        return closed_mapping(merged)

    def _opened(self, value: Raw, place: _ValuePath) -> Mapping[Any, Raw]:
        if place.depth > MAX_DEPTH:
            raise CorruptRecord("a value is nested too deep")
        opened = opened_mapping(value)
        self._visit(len(opened) + len(memoryview(value)) // _BYTES)
        return opened

    def _visit(self, places: int) -> None:
        self.places -= places
        if self.places < 0:
            raise _TooCostly

    def _conflict(self, place: _ValuePath, kind: ConflictKind, why: str = "") -> None:
        self._visit(_CONFLICT)
        self.conflicts.append(Conflict(place.path(), kind, self._key, why))

    def _note_identical(self, base: Raw | None, mine: Raw | None, place: _ValuePath) -> None:
        """Note each place where both sides made one equal change, which may be a lost update."""
        kind = None if mine is None else kind_of(mine)
        if base is not None and mine is not None and kind_of(base) is kind is dict:
            before, after = self._opened(base, place), self._opened(mine, place)
            for key in {**before, **after}:
                if before.get(key) != after.get(key):
                    self._note_identical(before.get(key), after.get(key), place.inside(key))
        elif mine is not None and kind not in (set, frozenset):
            # Adding one element to a set twice, or deleting one key twice, loses nothing.
            self._conflict(place, "identical")


def _is_no_mapping(value: Raw | None) -> bool:
    return value is None or kind_of(value) is not dict


def _fits(value: Raw, depth: int) -> bool:
    """Return whether a value that a policy gave can be stored so deep."""
    try:
        decode(_LIST_OF_ONE * depth + bytes(value))
    except CorruptRecord:
        return False
    return True


def _list(base: Raw, mine: Raw, theirs: Raw) -> Raw | None:
    """Return both tails, theirs first, if both sides only appended."""
    before, ours, others = opened_list(base), opened_list(mine), opened_list(theirs)
    if ours.data.startswith(before.data) and others.data.startswith(before.data):
        number = others.number + ours.number - before.number
        return closed_list(Items(number, others.data + ours.data[len(before.data) :]))
    return None


def _set(base: Any, mine: Any, theirs: Any) -> Raw:
    """Return theirs with my additions and removals."""
    return Raw(encode((theirs | (mine - base)) - (base - mine)))
