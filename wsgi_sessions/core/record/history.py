"""History: the latest commits of a session, as its record holds them. Pure."""

from __future__ import annotations

import msgspec

from wsgi_sessions import texts

_REPEAT_SECONDS = 60.0
_KEPT_REPEATS = 16 - 1  # beside the newest one
_SECONDS = 5.0  # longer than any operation's deadline: no retry comes later
_KEPT_COMMITS = 8 - 1


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
