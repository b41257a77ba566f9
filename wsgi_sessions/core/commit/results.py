"""Results of commits, and the reasons for dropping one."""

from __future__ import annotations

from typing import Literal

Result = Literal[
    "unchanged",
    "saved",
    "touched",
    "created",
    "cycled",
    "destroyed",
    "gone",
    "superseded",
    "dropped",
]
NO_COOKIE = "the response cannot carry a cookie, or no longer can"
STALE = "the session is stale, and this request cannot rebuild it"
