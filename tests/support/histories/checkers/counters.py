"""Counters: between the additions that were acknowledged and those that were tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histories.checkers.observations import can_have_effect, done_by, observations
from histories.checkers.violation import Violation
from histories.effects import COUNT, COUNTED, FAILING, TOTAL, TOTALLED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from histories.checkers.violation import Kind
    from histories.record import History


def counters_are_right(history: History) -> Iterator[Violation]:
    """Both the number that requests increment and the one that exclusive blocks count."""
    yield from _within_bounds(history, COUNT, COUNTED)
    yield from _within_bounds(history, TOTAL, TOTALLED)


def _within_bounds(history: History, key: str, names: Collection[str]) -> Iterator[Violation]:
    changes = [o for o in history.operations if o.name in names and o.name not in FAILING]
    # A block that was left stays, even if its request failed afterwards.
    possible = [o for o in changes if can_have_effect(o) or (key == TOTAL and not o.is_absent)]
    found = observations(history)
    for reader in found:
        value = (reader.values or {})[key]
        least = sum(done_by(history, change) < reader.begin for change in changes)
        most = sum(change.begin < reader.end for change in possible)
        if value < least:
            kind: Kind = "lost" if reader is found[-1] else "stale"
            message = f"{key!r} is {value} in {reader.number}, after {least} additions"
            yield Violation(kind, reader.session, message, (reader.number,))
        elif value > most:
            message = f"{key!r} is {value} in {reader.number}, after {most} additions at most"
            yield Violation("doubled", reader.session, message, (reader.number,))
