"""History: what a record holds of its session's past. Pure.

The latest commits stay packed until a conflict, a lost reply or an operator asks: every commit
takes them along, and one piece of bytes costs less than 32 small objects for each session that a
worker knows::

    number   1 byte: how many commits follow
    commits  newest first: time, token (8 bytes each), route (UTF-8), length of the route (1 byte)

Integers are big-endian; a time is seconds since the epoch, as a float of 8 bytes.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from wsgi_sessions import texts

NO_COMMITS = b""
_REPEAT_SECONDS = 60.0
_KEPT_REPEATS = 16 - 1  # beside the newest one
_SECONDS = 5.0  # longer than any operation's deadline: no retry comes later
_KEPT_COMMITS = 8
_LONGEST_ROUTE = 255

REBUILT = "rebuilt"
"""Metadata key of the time at which stale data was last rebuilt, in seconds since the epoch."""
RESTORED = "restored"
"""Metadata key of the last context that was put back: the time, and the key that it is under."""
CONFLICTED = "conflicted"
"""Metadata key of the last conflict: the time, the key, and the route of the later commit."""

_BEGIN = Struct(">Bd8s")  # the number; time and token of the newest commit
_LATEST = Struct(">Bd")
_COMMIT = Struct(">d8s")
_COMMIT_BYTES = _COMMIT.size + 1
_LENGTHS = [bytes((length,)) for length in range(_LONGEST_ROUTE + 1)]
# Bound once, as every commit needs them.
_begin, _latest_of = _BEGIN.pack, _LATEST.unpack_from


@texts.shows("at", "route")
class Commit(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One recent commit: its time (seconds since the epoch), random token, and request route.

    The token has 8 bytes, and more only in a request that its client may send again.
    """

    at: float
    token: bytes
    route: str


def with_commit(earlier: bytes, commit: Commit) -> bytes:
    """Return a new history with one commit more.

    Of the `earlier` ones up to 8 in all are kept, and none if the latest is more than 5 seconds
    away.
    """
    at, route = commit.at, commit.route.encode("utf-8", "replace")[:_LONGEST_ROUTE]
    rest = route + _LENGTHS[len(route)]
    if len(earlier) > _COMMIT_BYTES:
        number, latest = _latest_of(earlier)
        if -_SECONDS <= at - latest <= _SECONDS:
            if number < _KEPT_COMMITS:
                return _begin(number + 1, at, commit.token) + rest + earlier[1:]
            oldest = _COMMIT_BYTES + earlier[-1]
            return _begin(number, at, commit.token) + rest + earlier[1:-oldest]
    return _begin(1, at, commit.token) + rest


def commits_in(history: bytes) -> list[Commit]:
    """Return the commits of a history, newest last. Damaged ones are left out."""
    found, end = [], len(history)
    while end > _COMMIT_BYTES:
        route = end - 1 - history[end - 1]
        begin = route - _COMMIT.size
        if begin < 1:
            break
        at, token = _COMMIT.unpack_from(history, begin)
        found.append(Commit(at, token, history[route : end - 1].decode(errors="replace")))
        end = begin
    return found


def number_in(history: bytes) -> int:
    """Return the number of commits in a history."""
    return history[0] if history else 0


def with_repeat(earlier: list[Commit], commit: Commit) -> list[Commit]:
    """Return a new history of requests that may be sent again: the last 16 of a minute."""
    recent = [each for each in earlier if abs(commit.at - each.at) <= _REPEAT_SECONDS]
    return [*recent[-_KEPT_REPEATS:], commit]
