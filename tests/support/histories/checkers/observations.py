"""Facts of one session's history that several checkers need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from histories.effects import FAILING, NEW_IDS, marked

if TYPE_CHECKING:
    from collections.abc import Collection

    from histories.record import History, Operation


def observations(history: History) -> list[Operation]:
    """The operations that found the session, each with what it saw."""
    return [operation for operation in history.operations if operation.values]


def is_acknowledged(history: History, operation: Operation) -> bool:
    """Whether its changes were promised to be stored: answered, on a session, and not dropped."""
    return (
        operation.outcome == "ok"
        and not operation.is_absent
        and operation.name not in FAILING
        and operation.number not in history.dropped
    )


def done_by(history: History, operation: Operation) -> float:
    """When its effect was in the session at the latest; infinity if nobody can tell."""
    return operation.end if is_acknowledged(history, operation) else math.inf


def can_have_effect(operation: Operation) -> bool:
    """Whether its changes may be stored: it did not fail and did not find the session absent."""
    return operation.outcome != "failed" and not operation.is_absent


def endings(history: History, *, new_ids: Collection[str] = NEW_IDS) -> list[Operation]:
    """The operations that may have ended the session, or the id that they were sent with."""
    names = {"logout", *new_ids}
    return [o for o in history.operations if o.name in names and can_have_effect(o)]


def first_seen(history: History) -> dict[tuple[str, int], float]:
    """For each place and number: when the first request that saw it there had ended."""
    seen: dict[tuple[str, int], float] = {}
    for operation in observations(history):
        for place, numbers in marked(operation.values or {}).items():
            for number in numbers:
                known = seen.get((place, number), math.inf)
                seen[place, number] = min(known, operation.end)
    return seen
