"""History: the latest commits of a session, as its record holds them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.core.record.repeats import TOKEN_BYTES
from wsgi_sessions.errors import CorruptRecord

_MAY_HAVE_REPEATS = b"\xc4%c" % TOKEN_BYTES  # the beginning of such a token in MessagePack
_REPEAT_SECONDS = 60.0
_MAX_REPEATS = 16
_SECONDS = 5.0  # longer than any operation's deadline: no retry comes later
_MAX_COMMITS = 8


@texts.shows("at", "route")
class Commit(msgspec.Struct, array_like=True, frozen=True):
    """One recent commit: its time (seconds since the epoch), random token, and request route."""

    at: float
    token: bytes
    route: str


_encoder = msgspec.msgpack.Encoder()
_commits_decoder = msgspec.msgpack.Decoder(list[Commit])
_commit_decoder = msgspec.msgpack.Decoder(Commit)
_raw_commits_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def commits_in(encoded: msgspec.Raw) -> list[Commit]:
    """Return the commits of a history, newest last. Raises CorruptRecord."""
    try:
        return _commits_decoder.decode(encoded)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"its history does not decode ({type(error).__name__})") from error


def history(commits: list[Commit]) -> msgspec.Raw:
    """Return commits as an envelope holds them."""
    return msgspec.Raw(_encoder.encode(commits))


def with_commit(earlier: msgspec.Raw, commit: Commit) -> msgspec.Raw:
    """Return a history with one more commit.

    Up to 8 commits in all are kept; no `earlier` one if the latest is more than 5 seconds away.
    Only that one is decoded. Commits of requests that a client may repeat are kept beside them: the
    last 16 of a minute. Raises CorruptRecord.
    """
    if len(commit.token) == TOKEN_BYTES or bytes(earlier).find(_MAY_HAVE_REPEATS) >= 0:
        return _with_repeats(earlier, commit)
    try:
        kept: list[Any] = _raw_commits_decoder.decode(earlier)
        if kept and not -_SECONDS <= commit.at - _commit_decoder.decode(kept[-1]).at <= _SECONDS:
            kept = []
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"its history does not decode ({type(error).__name__})") from error
    if len(kept) >= _MAX_COMMITS:
        del kept[: 1 - _MAX_COMMITS]
    kept.append(commit)
    return msgspec.Raw(_encoder.encode(kept))


def _with_repeats(earlier: msgspec.Raw, commit: Commit) -> msgspec.Raw:
    known = commits_in(earlier)
    repeats = [
        each
        for each in known
        if len(each.token) == TOKEN_BYTES and abs(commit.at - each.at) <= _REPEAT_SECONDS
    ]
    others = [each for each in known if len(each.token) != TOKEN_BYTES]
    if others and abs(commit.at - others[-1].at) > _SECONDS:
        others = []
    kept = {each.token for each in (*repeats[1 - _MAX_REPEATS :], *others[1 - _MAX_COMMITS :])}
    return history([*(each for each in known if each.token in kept), commit])
