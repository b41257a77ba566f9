"""Assigned values: linearizable, whole, and reported where one overwrites another unseen."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from histories.checkers.observations import (
    can_have_effect,
    is_acknowledged,
    observations,
)
from histories.checkers.violation import Violation
from histories.effects import REGISTERS, assigned, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from histories.record import History, Operation

KEYS = tuple(key for keys in REGISTERS.values() for key in keys)
_NAMES = {key: name for name, keys in REGISTERS.items() for key in keys}


@dataclass
class Zone:
    """One value of a register: from the first operation on it that ended to the last that began.

    Forward (`first_end` before `last_begin`) it was the value all that time; else it can have been
    the value at one moment only, anywhere in between. With unique values these intervals decide
    (Gibbons and Korach, "Testing shared memories", 1997).
    """

    value: int
    first_end: float
    last_begin: float
    operations: list[int]

    @property
    def is_forward(self) -> bool:
        return self.first_end < self.last_begin

    def holds(self, operation: Operation, end: float) -> None:
        """Count in an operation on this value."""
        self.first_end = min(self.first_end, end)
        self.last_begin = max(self.last_begin, operation.begin)
        self.operations.append(operation.number)


def registers_are_linearizable(history: History) -> Iterator[Violation]:
    """The reads of each register fit one order of its assignments, within begin and end of each."""
    for key in KEYS:
        zones, unknown = _zones(history, key)
        yield from unknown
        for one, other in combinations(zones.values(), 2):
            if _exclude_each_other(one, other):
                numbers = tuple(sorted({*one.operations, *other.operations}))
                message = f"{key!r}: no order of {one.value} and {other.value} fits what was read"
                yield Violation("not linearizable", _name(history), message, numbers)


def _zones(history: History, key: str) -> tuple[dict[int, Zone], list[Violation]]:
    """The zone of each value that was assigned, and reads of values that were not."""
    zones = {0: Zone(0, -math.inf, -math.inf, [])}
    writers = {o.number: o for o in history.operations if o.name == _NAMES[key]}
    for number, writer in writers.items():
        if is_acknowledged(history, writer):
            zones[number] = Zone(number, writer.end, writer.begin, [number])
    unknown = []
    for reader in observations(history):
        value = assigned(reader.values or {}, key)
        found = writers.get(value)
        if value and (found is None or found.begin > reader.end):
            message = f"{reader.number} reads {value} in {key!r}, which nobody had assigned"
            unknown.append(Violation("mixed", reader.session, message, (reader.number,)))
            continue
        if found is not None and not can_have_effect(found):
            message = f"{found.name} {value} failed, and {reader.number} reads it"
            unknown.append(Violation("torn", reader.session, message, (value, reader.number)))
            continue
        if found is not None and value not in zones:
            zones[value] = Zone(value, math.inf, found.begin, [value])
        zones[value].holds(reader, reader.end)
    return zones, unknown


def _exclude_each_other(one: Zone, other: Zone) -> bool:
    """Whether two values were both the register's at one time, as each must have been."""
    if one.is_forward and other.is_forward:
        return one.first_end < other.last_begin and other.first_end < one.last_begin
    if one.is_forward or other.is_forward:
        forward, backward = (one, other) if one.is_forward else (other, one)
        return forward.first_end < backward.last_begin and backward.first_end < forward.last_begin
    return False


def pairs_are_whole(history: History) -> Iterator[Violation]:
    """Two keys that are always assigned together are never seen apart."""
    for reader in observations(history):
        values = reader.values or {}
        if values["left"] != values["right"]:
            message = f"{reader.number} reads the pair {values['left']}, {values['right']}"
            yield Violation("torn", reader.session, message, (reader.number,))
        for key, role in (("org", values["org"]["role"]), ("rank id", values["rank role"])):
            number = assigned(values, key)
            if role != role_of(number):
                message = f"{reader.number} reads {key!r} {number} as {role}, which nobody wrote"
                yield Violation("mixed", reader.session, message, (number, reader.number))


def overwriting_is_reported(history: History) -> Iterator[Violation]:
    """Of the assignments that saw the same value, all but the first overwrote one unseen: each of
    them reports a conflict."""
    for key in KEYS:
        groups: dict[int, list[Operation]] = defaultdict(list)
        for writer in history.operations:
            if writer.name == _NAMES[key] and writer.values and is_acknowledged(history, writer):
                groups[assigned(writer.values, key)].append(writer)
        for value, writers in groups.items():
            silent = [w for w in writers if not history.conflicts(w.number, key)]
            if len(silent) > 1:
                numbers = tuple(writer.number for writer in silent)
                message = f"{key!r}: {numbers} all replaced {value} and reported no conflict"
                yield Violation("unreported", _name(history), message, numbers)


def _name(history: History) -> str:
    return history.operations[0].session
