"""Pure checkers: a history in, violations out. Each is a function of one session's history."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from histories.checkers.counters import counters_are_right
from histories.checkers.exclusive import blocks_do_not_overlap, blocks_read_afresh
from histories.checkers.identity import (
    live_is_found,
    logged_out_is_dead,
    nobody_sees_another_session,
    replaced_id_is_dead,
)
from histories.checkers.marks import (
    nothing_is_doubled,
    nothing_is_dropped_without_reason,
    nothing_is_missing,
    nothing_is_torn,
)
from histories.checkers.registers import (
    overwriting_is_reported,
    pairs_are_whole,
    registers_are_linearizable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from histories.checkers.violation import Violation
    from histories.record import History, Operation, Outcome

    Checker = Callable[[History], Iterable[Violation]]

CHECKERS: tuple[Checker, ...] = (
    nobody_sees_another_session,
    logged_out_is_dead,
    replaced_id_is_dead,
    live_is_found,
    nothing_is_missing,
    nothing_is_dropped_without_reason,
    nothing_is_doubled,
    nothing_is_torn,
    counters_are_right,
    registers_are_linearizable,
    pairs_are_whole,
    overwriting_is_reported,
    blocks_do_not_overlap,
    blocks_read_afresh,
)


def promised(history: History) -> History | None:
    """What promises hold for: of an operation in an excused span, nobody knows what it saw and
    whether it had an effect; in a stale one, only what it saw is not known. None if the session
    itself began in an excused span."""
    if any(o.name == "start" and history.is_excused(o) for o in history.operations):
        return None
    return history.only(_known(history, operation) for operation in history.operations)


def _known(history: History, operation: Operation) -> Operation:
    if history.is_excused(operation):
        return _unknown(operation)
    if not history.may_be_stale(operation):
        return operation
    # Who found no session changed nothing: that none is there may be old news, too.
    return _unknown(operation) if operation.is_absent else replace(operation, values=None)


def _unknown(operation: Operation) -> Operation:
    outcome: Outcome = "failed" if operation.outcome == "failed" else "unknown"
    return replace(operation, outcome=outcome, values=None, received=None, inside=None, total=None)


def judge(history: History) -> list[Violation]:
    """All violations of a history, session by session."""
    return [
        violation
        for session in history.sessions().values()
        if (part := promised(session)) is not None
        for checker in CHECKERS
        for violation in checker(part)
    ]
