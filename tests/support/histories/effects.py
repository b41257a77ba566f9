"""What each operation changes in a session, and where its number can be seen in the values.

Application, workload and checkers share this one table. Numbers of operations are unique in a
history, so a value tells which operation wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VISITOR = "visitor"  # the key that names whose session it is
COUNT, TOTAL = "count", "total"
LISTS = ("entries", "log", "late", "done")
NEST = "nest"
# Where the number of an operation is seen once it is stored: all of these, or none.
MARKS: Mapping[str, tuple[str, ...]] = {
    "change": ("key", "entries", "log", "nest"),
    "key": ("key",),
    "append": ("entries",),
    "note": ("log",),
    "nest": ("nest",),
    "stream": ("late",),
    "across": ("log",),
    "exclusive": ("done",),
    "fail": ("key", "entries", "log", "nest"),
    "raise": ("key", "entries", "log", "nest"),
}
COUNTED = frozenset({"change", "count", "fail", "raise"})
TOTALLED = frozenset({"exclusive", "across"})
# Operations that assign their number to each of these keys.
REGISTERS: Mapping[str, tuple[str, ...]] = {
    "assign": ("reg",),
    "pair": ("left", "right"),
    "org": ("org",),
    "rank": ("rank id",),
}
FAILING = frozenset({"fail", "raise"})
NEW_IDS = frozenset({"login", "cycle"})


def role_of(number: int) -> str:
    """The role that is always assigned together with a number: one of two, so often the same."""
    return "admin" if number % 2 else "viewer"


def beginning(visitor: str) -> dict[str, Any]:
    """The values of a session that was just started."""
    lists: dict[str, Any] = {name: [] for name in LISTS}
    org = {"id": 0, "role": role_of(0)}
    registers = {"reg": 0, "left": 0, "right": 0, "org": org, "rank id": 0, "rank role": role_of(0)}
    return {VISITOR: visitor, NEST: {}, COUNT: 0, TOTAL: 0, **lists, **registers}


def assigned(values: Mapping[str, Any], key: str) -> int:
    """Whose assignment a register shows: the operation's number, 0 for the beginning."""
    value = values[key]
    return int(value["id"] if key == "org" else value)


def marked(values: Mapping[str, Any]) -> dict[str, set[int]]:
    """The numbers of operations that are seen in each place of a session's values."""
    places: dict[str, set[int]] = {name: set(values.get(name, ())) for name in LISTS}
    places["nest"] = set(map(int, values.get(NEST, ())))
    places["key"] = {int(key[4:]) for key in values if key.startswith("key ")}
    return places


def all_numbers(values: Mapping[str, Any]) -> Iterator[int]:
    """Every number of an operation that a session's values hold, wherever."""
    for numbers in marked(values).values():
        yield from numbers
    for keys in REGISTERS.values():
        for key in keys:
            if key in values:
                yield assigned(values, key)
