"""Changes that all stay: keys, appends, changes in place. None lost, stale, doubled or torn."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from histories.checkers.observations import (
    can_have_effect,
    done_by,
    endings,
    first_seen,
    observations,
)
from histories.checkers.violation import Violation
from histories.effects import LISTS, MARKS, marked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from histories.record import History, Operation


def nothing_is_missing(history: History) -> Iterator[Violation]:
    """Each acknowledged change is seen by every request that begins later, and so is each change
    that a request has seen. Missing at the end, it is lost; else that request read stale."""
    found = [(reader, marked(reader.values or {})) for reader in observations(history)]
    seen = first_seen(history)
    for change in history.operations:
        for place in MARKS.get(change.name, ()):
            there_by = min(done_by(history, change), seen.get((place, change.number), math.inf))
            later = [(reader, places) for reader, places in found if reader.begin > there_by]
            missing = [reader for reader, places in later if change.number not in places[place]]
            if missing:
                yield _missing(change, place, missing[0], is_last=missing[-1] is later[-1][0])


def _missing(change: Operation, place: str, reader: Operation, *, is_last: bool) -> Violation:
    what = f"{change.name} {change.number} is not in {place!r} of {reader.name} {reader.number}"
    if is_last:
        message = f"{what}, nor at the end"
        return Violation("lost", change.session, message, (change.number, reader.number))
    return Violation(
        "stale", change.session, f"{what}, which began later", (change.number, reader.number)
    )


def nothing_is_dropped_without_reason(history: History) -> Iterator[Violation]:
    """Changes are dropped because of a log-out or a log-in, which had begun. Of a session that only
    got a new id they are kept."""
    reasons = endings(history, new_ids=("login",))
    for change in history.operations:
        if change.number not in history.dropped or change.outcome != "ok" or change.is_absent:
            continue
        if change.name not in {"logout", "login", "cycle"} and not any(
            ending.begin < change.end for ending in reasons
        ):
            message = f"{change.name} {change.number} was dropped, and nobody had logged in or out"
            yield Violation("lost", change.session, message, (change.number,))


def nothing_is_doubled(history: History) -> Iterator[Violation]:
    """No entry of a list is there twice."""
    for reader in observations(history):
        for name in LISTS:
            for number, times in Counter((reader.values or {}).get(name, ())).items():
                if times > 1:
                    message = f"{number} is {times} times in {name!r} of {reader.number}"
                    yield Violation("doubled", reader.session, message, (number, reader.number))


def nothing_is_torn(history: History) -> Iterator[Violation]:
    """A request's changes are seen all or none, and none of a request that failed."""
    changes = {change.number: change for change in history.operations if change.name in MARKS}
    for reader in observations(history):
        places = marked(reader.values or {})
        for number in sorted(set().union(*places.values()) & changes.keys()):
            change = changes[number]
            there = [place for place in MARKS[change.name] if number in places[place]]
            missing = [place for place in MARKS[change.name] if number not in places[place]]
            if there and missing:
                message = f"{change.name} {number} is in {there} but not in {missing}"
                yield Violation("torn", change.session, message, (number, reader.number))
            elif there and not can_have_effect(change):
                message = f"{change.name} {number} failed, and {reader.number} sees its changes"
                yield Violation("torn", change.session, message, (number, reader.number))
