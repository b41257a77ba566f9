"""What a checker finds: a promise, the session, and the operations that show that it was broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "lost",  # acknowledged, and not there at the end
    "stale",  # acknowledged, and not seen by a request that began later
    "doubled",  # there twice
    "torn",  # a part of a request's changes, or changes of a request that failed
    "mixed",  # values that nobody wrote
    "not linearizable",  # a register went back, or forth and back
    "overlap",  # two exclusive blocks at once
    "zombie",  # a session that was logged out, and opens
    "old id",  # an id that a log-in replaced, and opens
    "fault as absence",  # a live session, and the request found none
    "stranger",  # another visitor's data
    "unreported",  # an assignment was overwritten unseen, and no conflict was reported
]


@dataclass(frozen=True)
class Violation:
    """One broken promise. `operations` are the numbers of those that show it."""

    kind: Kind
    session: str
    message: str
    operations: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: session {self.session}: {self.message}"
