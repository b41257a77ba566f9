"""A conflict: two requests changed one place of a session, and the two could not be merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["overwritten", "identical"]


@dataclass(frozen=True)
class Conflict:
    """Two requests changed `path`. "overwritten": theirs differed and is gone; "identical": both
    wrote the same after reading, so that one of the two updates may be missing."""

    path: str
    kind: Kind
