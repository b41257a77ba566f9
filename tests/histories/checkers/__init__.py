"""Pure checkers: a history in, violations out. Each is a function of one session's history."""

from __future__ import annotations

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
    from histories.record import History

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


def judge(history: History) -> list[Violation]:
    """All violations of a history, session by session."""
    return [
        violation
        for part in history.sessions().values()
        for checker in CHECKERS
        for violation in checker(part)
    ]
