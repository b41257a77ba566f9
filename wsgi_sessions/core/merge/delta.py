"""The changes of a request, and their merge with concurrent changes. Pure.

The merge is three-way, per top-level key: `base` (what the request read), mine (base plus the
delta) and `theirs` (what is stored now). Values are encoded, and stay so: containers are opened
only where both sides changed them.

- changed by one side only: that side's value.
- changed *in place* by both (`Mutate`): merged. Two mappings merge per key, recursively; two lists
  with only appended items keep both tails, theirs first; two sets merge by additions and removals.
- assigned (`Assign`): one value. If theirs is another, mine stands, whole. Mine also stands where
  theirs was assigned since (`reassigned`) and mine is a changed older one: two assigned values are
  never mixed.
- typed operations (`Increment`, `Append`) are applied to theirs: they never conflict, unless theirs
  has become a value of another type.
- where a rule says what is meant, that counts (see `wsgi_sessions.core.merge.policies`), also
  for assigned values; a rule for a place in a dictionary has that merged per key, even if assigned.
- anything else is a `Conflict`: mine stands, as the later commit, and the conflict is returned.
  Containers that would cost too much to merge conflict too (see `Merging`).

A default (`Assign` of that basis) stands only where theirs has nothing, and never conflicts; one
that was changed in place merges from the default, as if theirs had begun with it.

Merging a value with itself gives that value. But where the request had *read* the key before it
changed it, an equal change by both sides can still be a lost update (two requests that both count 5
up to 6): it is returned as a conflict of kind "identical". A blind write is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Raw, Struct

from wsgi_sessions import texts
from wsgi_sessions.core.merge.three_way import Merging
from wsgi_sessions.core.record.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.merge.rules import MergeRules, PlaceRules

Basis = Literal["blind", "read", "default"]


@texts.shows("basis")
class Assign(Struct, frozen=True, gc=False):
    """A key was set to an encoded `value`, or deleted (None): a write, even of an equal value.

    `basis` is "read" if the request had read the key before, so that the new value may depend on
    the old one; "default" if the value applies only while no other request has set the key.
    """

    value: bytes | None
    basis: Basis = "blind"


@texts.shows()
class Mutate(Struct, frozen=True, gc=False):
    """The container under a key was changed in place, to this encoded `value`.

    It came from the base or, where the base has none, from the request's encoded `default`.
    """

    value: bytes
    default: bytes | None = None


@texts.shows()
@dataclass(frozen=True)
class Increment:
    """Add `by` to a number; an absent one counts as 0."""

    by: int | float | Decimal

    def apply(self, value: Any) -> Any:
        """Return the sum. Raises TypeError if `value` is not a number."""
        value = 0 if value is ABSENT else value
        if type(value) not in (int, float, Decimal):
            raise TypeError(f"cannot increment a {type(value).__qualname__}")
        return value + self.by


@texts.shows()
@dataclass(frozen=True)
class Append:
    """Append the encoded `item` to a list; an absent one counts as empty."""

    item: bytes

    def apply(self, value: Any) -> Any:
        """Return the longer list. Raises TypeError if `value` is not a list."""
        value = [] if value is ABSENT else value
        if type(value) is not list:
            raise TypeError(f"cannot append to a {type(value).__qualname__}")
        return [*value, decode(self.item)]


Operation = Increment | Append


@texts.shows()
class Operate(Struct, frozen=True):
    """Typed operations on a key, in order, and the `value` that they give on the request's base."""

    operations: tuple[Operation, ...]
    value: bytes


Change = Assign | Mutate | Operate
Delta = dict[str, Change]


@texts.shows("conflicts")
class Merged(Struct, frozen=True, gc=False):
    """The outcome of a merge: encoded values by key, and the conflicts.

    `wholes` are the keys with only my value: nothing that was stored before is in it.
    """

    data: dict[str, Raw]
    conflicts: list[Conflict]
    wholes: Set[str]


class _Absent:
    """The absence of a value; None is a value."""


ABSENT: Any = _Absent()


def merge(
    base: Mapping[str, Raw],
    delta: Delta,
    theirs: Mapping[str, Raw],
    reassigned: Set[str] = frozenset(),
    rules: MergeRules | None = None,
) -> Merged:
    """Apply `delta`, made on `base`, to `theirs`. Raises CorruptRecord for a corrupt value.

    `reassigned` are keys whose container in `theirs` was assigned since `base`; `rules` say what
    changes of a key, or of a place in it, mean.
    """
    data = dict(theirs)
    merging = Merging()
    for key, change in delta.items():
        before, now = base.get(key), data.get(key)
        rule, start = None if rules is None else rules.at(key), len(merging.conflicts)
        if isinstance(change, Operate):
            value = _operate(key, change, now, merging)
        elif rule is not None and rule.decides:
            value = _by_rule(key, change, before, now, merging, rule)
        elif isinstance(change, Assign):
            value = _assign(key, change, before, now, merging)
        else:
            is_another = key in reassigned and change.default is None
            value = _mutate(key, change, before, now, merging, is_another=is_another)
        if rule is not None and rule.refuses:
            merging.refuse(start)
        if value is None:
            data.pop(key, None)
        else:
            data[key] = value
    return Merged(data, merging.conflicts, merging.wholes)


def apply(delta: Delta, base: Mapping[str, Raw]) -> Merged:
    """Return `base` with the changes that were made on it.

    The result is that of `merge` without concurrent changes, for less.
    """
    data = dict(base)
    wholes = set()
    for key, change in delta.items():
        value = change.value
        if value is None:
            data.pop(key, None)
            continue
        data[key] = Raw(value)
        if type(change) is Assign or key not in base:  # isinstance is slow with these classes
            wholes.add(key)
    return Merged(data, [], wholes)


def operated(operations: Iterable[Operation], value: Any) -> Any:
    """Return the result of operations on a value or ABSENT. Raises TypeError, ArithmeticError."""
    for operation in operations:
        value = operation.apply(value)
    return value


def is_done(change: Change, stored: Raw | None) -> bool:
    """Return whether the stored value is what the change makes of its own base."""
    return change.value == (None if stored is None else bytes(stored))


def _operate(key: str, change: Operate, theirs: Raw | None, merging: Merging) -> Raw | None:
    try:
        value = operated(change.operations, ABSENT if theirs is None else decode(theirs))
    except (TypeError, ArithmeticError):
        return merging.overwritten(key, Raw(change.value))
    result = Raw(encode(value, key))
    return result if theirs is not None else merging.whole(key, result)


def _by_rule(
    key: str,
    change: Assign | Mutate,
    base: Raw | None,
    theirs: Raw | None,
    merging: Merging,
    rule: PlaceRules,
) -> Raw | None:
    mine = None if change.value is None else Raw(change.value)
    after_read = True
    if isinstance(change, Assign):
        if change.basis == "default" and theirs is not None:
            return theirs
        if base == theirs:
            return merging.whole(key, mine)
        after_read = change.basis == "read"
    elif change.default is not None:
        if theirs is None:
            return merging.whole(key, mine)
        base = Raw(change.default)
    return merging.merged(key, base, mine, theirs, after_read=after_read, rules=rule)


def _assign(
    key: str, change: Assign, base: Raw | None, theirs: Raw | None, merging: Merging
) -> Raw | None:
    mine = None if change.value is None else Raw(change.value)
    if base == theirs:
        return merging.whole(key, mine)
    if change.basis == "default" and theirs is not None:
        return theirs
    if mine != theirs:
        return merging.overwritten(key, mine)
    merging.merged(key, base, mine, theirs, after_read=change.basis == "read")
    return merging.whole(key, mine)


def _mutate(
    key: str,
    change: Mutate,
    base: Raw | None,
    theirs: Raw | None,
    merging: Merging,
    *,
    is_another: bool,
) -> Raw | None:
    """Merge a change in place. `is_another`: theirs was assigned since, unlike my older value."""
    mine = Raw(change.value)
    if change.default is not None:
        if theirs is None:
            return merging.whole(key, mine)
        base = Raw(change.default)
    if is_another and theirs not in (base, mine):
        return merging.overwritten(key, mine)
    return merging.merged(key, base, mine, theirs, after_read=True)
