"""History: what a record holds of its session's past. Pure."""

from __future__ import annotations

import msgspec

from wsgi_sessions import texts

_REPEAT_SECONDS = 60.0
_KEPT_REPEATS = 16 - 1  # beside the newest one
_SECONDS = 5.0  # longer than any operation's deadline: no retry comes later
_KEPT_COMMITS = 8 - 1
REBUILT = "rebuilt"
"""Metadata key of the time at which stale data was last rebuilt, in seconds since the epoch."""
RESTORED = "restored"
"""Metadata key of the last context that was put back: the time, and the key that it is under."""
CONFLICTED = "conflicted"
"""Metadata key of the last conflict: the time, the key, and the route of the later commit."""


@texts.shows("at", "route")
class Commit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One recent commit: its time (seconds since the epoch), random token, and request route."""

    at: float
    token: bytes
    route: str


def with_commit(earlier: list[Commit], commit: Commit) -> list[Commit]:
    """Return a new history with one commit more.

    Of the `earlier` ones up to 8 in all are kept, and none if the latest is more than 5 seconds
    away.
    """
    if earlier and -_SECONDS <= commit.at - earlier[-1].at <= _SECONDS:
        return [*earlier[-_KEPT_COMMITS:], commit]
    return [commit]


def with_repeat(earlier: list[Commit], commit: Commit) -> list[Commit]:
    """Return a new history of requests that may be sent again: the last 16 of a minute."""
    recent = [each for each in earlier if abs(commit.at - each.at) <= _REPEAT_SECONDS]
    return [*recent[-_KEPT_REPEATS:], commit]
