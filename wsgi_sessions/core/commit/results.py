"""Results: what became of a commit, and why one is dropped."""

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
NO_COOKIE = "the response can bring no cookie, or not any more"
STALE = "the session is stale, and this request cannot make it anew"
