"""What a request changed, and how it is merged with what others changed meanwhile. Pure.

The merge is three-way, per top-level key: `base` (what the request read), mine (base plus the
delta) and `theirs` (what is stored now). Values are encoded; they are decoded only where both
sides changed one key.

- changed by one side only: that side's value.
- two mappings merge per key, recursively; two lists that both only appended to the base keep both
  tails, theirs first; two sets merge by additions and removals. An absent base counts as empty.
- typed operations (`Increment`, `Append`) are applied to theirs: they never conflict, unless theirs
  has become a value of another type.
- anything else is a `Conflict`: mine stands, as the later commit, and the conflict is returned.

Merging a value with itself gives that value. But where the request had *read* the key before it
changed it, an equal change by both sides can still be a lost update (two requests that both count
5 up to 6), so it is returned as a conflict too, of kind "identical". A blind write is not. A
default (`Assign` of that basis) stands only where theirs has nothing, and never conflicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Raw, Struct

from wsgi_sessions import texts
from wsgi_sessions.conflict import Conflict
from wsgi_sessions.serialization import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

Basis = Literal["blind", "read", "default"]


@texts.shows("basis")
class Assign(Struct, frozen=True):
    """A key was set to an encoded `value`, or deleted (None): a write, also of what was there.

    `basis` is "read" if the request had looked at the key before, so that the new value may depend
    on the old one; "default" if the value is only for a key that nobody has set.
    """

    value: bytes | None
    basis: Basis = "blind"


@texts.shows()
@dataclass(frozen=True)
class Increment:
    """Add `by` to a number; an absent one counts as 0."""

    by: int | float | Decimal

    def apply(self, value: Any) -> Any:
        """The sum. Raises TypeError if `value` is no number."""
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
        """The longer list. Raises TypeError if `value` is no list."""
        value = [] if value is ABSENT else value
        if type(value) is not list:
            raise TypeError(f"cannot append to a {type(value).__qualname__}")
        return [*value, decode(self.item)]


Operation = Increment | Append


@texts.shows()
class Operate(Struct, frozen=True):
    """Typed operations on a key, in order, and what they `result` in on the request's own base."""

    operations: tuple[Operation, ...]
    result: bytes


Change = Assign | Operate
Delta = dict[str, Change]


@texts.shows("conflicts")
class Merged(NamedTuple):
    """The outcome of a merge: encoded values by key, and what could not be reconciled."""

    data: dict[str, Raw]
    conflicts: list[Conflict]


class _Absent:
    """No value: distinct from None, which is one."""


ABSENT: Any = _Absent()


def merge(base: Mapping[str, Raw], delta: Delta, theirs: Mapping[str, Raw]) -> Merged:
    """Apply `delta`, made on `base`, to `theirs`. Raises CorruptRecord if a value is."""
    data = dict(theirs)
    conflicts: list[Conflict] = []
    for key, change in delta.items():
        known = len(conflicts)
        if isinstance(change, Operate):
            value = _operate(key, change, data.get(key), conflicts)
        else:
            value = _assign(key, change, base.get(key), data.get(key), conflicts)
        if len(conflicts) > known:
            conflicts[known:] = [Conflict(c.path, c.kind, key) for c in conflicts[known:]]
        if value is None:
            data.pop(key, None)
        else:
            data[key] = Raw(value)
    return Merged(data, conflicts)


def apply(delta: Delta, base: Mapping[str, Raw]) -> dict[str, Raw]:
    """`base` with the changes that were made on it: what `merge` gives if nobody else changed it,
    for less."""
    data = dict(base)
    for key, change in delta.items():
        value = change.value if isinstance(change, Assign) else change.result
        if value is None:
            data.pop(key, None)
        else:
            data[key] = Raw(value)
    return data


def _operate(
    key: str, change: Operate, theirs: Raw | None, conflicts: list[Conflict]
) -> bytes | None:
    value = ABSENT if theirs is None else decode(theirs)
    try:
        for operation in change.operations:
            value = operation.apply(value)
    except (TypeError, ArithmeticError):
        conflicts.append(Conflict(key, "overwritten"))
        return change.result
    return encode(value, key)


def _assign(
    key: str,
    change: Assign,
    base: Raw | None,
    theirs: Raw | None,
    conflicts: list[Conflict],
) -> bytes | None:
    before, mine, after = _bytes(base), change.value, _bytes(theirs)
    if before == after:
        return mine
    if change.basis == "default" and after is not None:
        return after
    if before == mine:  # assigned what was there, which theirs is no longer
        conflicts.append(Conflict(key, "overwritten"))
        return mine
    value = _merge_values(_value(before), _value(mine), _value(after), key, change.basis, conflicts)
    return None if value is ABSENT else encode(value, key)


def _bytes(data: Raw | None) -> bytes | None:
    return None if data is None else bytes(data)


def _value(data: bytes | None) -> Any:
    return ABSENT if data is None else decode(data)


def _merge_values(
    base: Any, mine: Any, theirs: Any, path: str, basis: Basis, conflicts: list[Conflict]
) -> Any:
    if _same(base, theirs):
        return mine
    if _same(base, mine):
        return theirs
    if _same(mine, theirs):
        if basis == "read":
            _note_identical(base, mine, path, conflicts)
        return mine
    merged = _merge_containers(base, mine, theirs, path, basis, conflicts)
    if merged is ABSENT:
        conflicts.append(Conflict(path, "overwritten"))
        return mine
    return merged


def _merge_containers(
    base: Any, mine: Any, theirs: Any, path: str, basis: Basis, conflicts: list[Conflict]
) -> Any:
    """The merged container, or ABSENT if the three cannot be merged."""
    kind = type(mine)
    if type(theirs) is not kind or not (base is ABSENT or type(base) is kind):
        return ABSENT
    if kind is dict:
        return _merge_dicts({} if base is ABSENT else base, mine, theirs, path, basis, conflicts)
    if kind is list:
        return _merge_lists([] if base is ABSENT else base, mine, theirs)
    if kind is set or kind is frozenset:
        start = kind() if base is ABSENT else base
        return (theirs | (mine - start)) - (start - mine)
    return ABSENT


def _merge_dicts(
    base: dict[Any, Any],
    mine: dict[Any, Any],
    theirs: dict[Any, Any],
    path: str,
    basis: Basis,
    conflicts: list[Conflict],
) -> dict[Any, Any]:
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        value = _merge_values(
            base.get(key, ABSENT),
            mine.get(key, ABSENT),
            theirs.get(key, ABSENT),
            f"{path}.{texts.named(key)}",
            basis,
            conflicts,
        )
        if value is not ABSENT:
            merged[key] = value
    return merged


def _merge_lists(base: list[Any], mine: list[Any], theirs: list[Any]) -> Any:
    size = len(base)
    if _same(mine[:size], base) and _same(theirs[:size], base):
        return theirs + mine[size:]
    return ABSENT


def _same(one: Any, other: Any) -> bool:
    """Equal as stored: 1, 1.0 and True are three values, NaN is itself."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return encode(one) == encode(other)


def _note_identical(base: Any, mine: Any, path: str, conflicts: list[Conflict]) -> None:
    """Note each place at which both sides made one equal change, which may be a lost update."""
    if isinstance(mine, dict) and isinstance(base, dict):
        for key in {**base, **mine}:
            before, after = base.get(key, ABSENT), mine.get(key, ABSENT)
            if not _same(before, after):
                _note_identical(before, after, f"{path}.{texts.named(key)}", conflicts)
    elif not isinstance(mine, (set, frozenset)) and mine is not ABSENT:
        # Adding one element to a set twice, or deleting one key twice, loses nothing.
        conflicts.append(Conflict(path, "identical"))
