"""A conflict: two requests changed one place of a session, and the two could not be merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

ConflictKind = Literal["overwritten", "identical", "unfit"]


@texts.shows("kind")
@dataclass(frozen=True)
class Conflict:
    """Two requests changed `path`, a place under the session's key `key`.

    "overwritten": theirs differed and is gone; "identical": both wrote the same after reading, so
    that one of the two updates may be missing; "unfit": theirs is gone, as the merge policy of the
    place does not fit the values, `why` says how. `path` may hold keys that a client chose: it is
    for code, and `key` for logs. `is_refused`: the commit must not take place.
    """

    path: str
    kind: ConflictKind
    key: str = field(default="", compare=False)
    why: str = field(default="", compare=False)
    is_refused: bool = False


class RunAgain(BaseException):  # no error: frameworks must pass it on, as they do SystemExit
    """The changes of a request conflict: it is to be run again from its beginning.

    Nothing was stored. Raised through the application, so that its own transactions roll back.
    """

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        super().__init__("a request is run again, as its changes conflict with those of another")
        self.conflicts = tuple(conflicts)
