"""The smallest part of a failing history that still shows its violation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histories.checkers import judge

if TYPE_CHECKING:
    from histories.checkers.violation import Violation
    from histories.record import History, Operation


def shrink(history: History, violation: Violation) -> History:
    """The operations of the session concerned without which the violation would not be found.

    Leaving out an operation may make a right history look wrong (a value that nobody wrote), so
    only those that read and did not write what others see are left out, and those whose removal
    keeps the very same violation.
    """
    part = history.sessions()[violation.session]
    needed = list(part.operations)
    size = max(1, len(needed) // 2)
    while size:
        for start in range(len(needed) - size, -1, -size):
            fewer = [*needed[:start], *needed[start + size :]]
            if _shows(part, fewer, violation):
                needed = fewer
        size //= 2
    return part.only(needed)


def _shows(history: History, operations: list[Operation], violation: Violation) -> bool:
    return bool(operations) and any(found == violation for found in judge(history.only(operations)))
