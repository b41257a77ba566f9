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
ID_CHANGES = ("created", "cycled", "destroyed")
NO_COOKIE = "the response cannot carry a cookie, or no longer can"
STALE = "the session is stale, and this request cannot rebuild it"


def for_cookie(result: Result, moved: Result | None) -> Result:
    """Return what the commits of a request have done to the id that its client has.

    `result` is that of the last commit, which sends the cookie; `moved` is the last of all that
    gave or took an id, perhaps in mid-request.
    """
    return moved if moved and result in ("unchanged", "touched", "saved") else result
