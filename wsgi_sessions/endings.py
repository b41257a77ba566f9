"""The ends of sessions: their reasons, each one word everywhere, and the traces a store keeps.

A trace tells, after a session is over, why it is not there. It is an aid to explanation, never the
truth about a session: it is written after the end, best-effort, and a crash in between loses it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from msgspec import Struct

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EndReason = Literal[
    "logged-out",
    "revoked",
    "replaced",
    "expired-idle",
    "expired-absolute",
    "stale",
    "damaged",
    "superseded",
    "taken-over",
    "swept",
]
"""The reason why a session ended; `REASONS` has each one in words."""
REASONS: Mapping[EndReason, str] = MappingProxyType(
    {
        "logged-out": "the application logged the user out",
        "revoked": "it was ended from outside, by a command or a function",
        "replaced": "it goes on under a new id",
        "expired-idle": "it was not used for as long as the idle lifetime",
        "expired-absolute": "it reached the end of its absolute lifetime",
        "stale": "its data was stale, and could not be rebuilt",
        "damaged": "its record was damaged, and was set aside",
        "superseded": "another user logged in with it, and began a session of their own",
        "taken-over": "it moved to another store, or here from another library",
        "swept": "a command removed it as unused",
    }
)
RefusalReason = Literal["signature", "unknown"]
"""Further reasons why a presented cookie leads to no session: its signature does not verify; or
nothing is known about its session (any more)."""
REFUSED: Mapping[RefusalReason, str] = MappingProxyType(
    {
        "signature": "no secret of this application signed the cookie",
        "unknown": "the store has neither the session nor a trace of its end",
    }
)
UNSIGNED = ""
"""The stand-in for the store key where a presented cookie has a signature that is not ours."""
_DETAIL = 200


StepName = Literal[
    "began",
    "stored",
    "conflict",
    "refreshed",
    "refresh-failed",
    "rebuilt",
    "context-restored",
]
"""The kinds of steps that a record keeps of its past; see `wsgi_sessions.core.endings.steps`."""


@texts.shows("at", "what")
class Step(Struct, frozen=True, array_like=True, gc=False):
    """One step in the life of a session: when (seconds since the epoch), what, and about what.

    `about` is a route, a top-level key of the session, or a number; `route` that of the request.
    """

    at: float
    what: StepName
    about: str | None = None
    route: str | None = None


@texts.shows("why", "at", "by", "route")
class EndTrace(Struct, frozen=True, omit_defaults=True):
    """The end of one session. Nothing in it opens a session, names a user or holds a value.

    Attributes:
        key: the session's store key.
        at: when, in seconds since the epoch, by the clock of the process that ended it.
        by: who: "request", "sweeper", a command with the user of the system, or a function.
        route: the request that ended it, such as ``POST /logout``.
        detail: what more is known, such as why a rebuild failed.
        successor: the store key under which it goes on.
        user: the pseudonym of its user (`wsgi_sessions.core.pseudonyms`).
        begun_at: when it began, in seconds since the epoch.
        commits: its latest commits, as (time, route), newest last.
        steps: what else its record told of its past, in order of time.
        process: the host and the process that ended it, whose clock `at` is by.
    """

    key: str
    why: EndReason
    at: float
    by: str = "request"
    route: str | None = None
    detail: str | None = None
    successor: str | None = None
    user: str | None = None
    begun_at: float | None = None
    commits: tuple[tuple[float, str], ...] = ()
    steps: tuple[Step, ...] = ()
    process: str | None = None


@texts.shows("why", "is_inferred")
class Absence(Struct, frozen=True):
    """The reason why the session of a presented cookie is not there.

    `is_inferred`: nothing tells it; the server deletes expired sessions by itself, and any other
    end would have left a trace, unless the server lost its data.
    """

    why: EndReason | RefusalReason
    is_inferred: bool = False
    trace: EndTrace | None = None


@texts.shows("why", "by", "route")
class Cause(Struct, frozen=True):
    """The cause of an end: the reason, who, and the route of a request; see `EndTrace`."""

    why: EndReason
    by: str = "request"
    route: str | None = None
    detail: str | None = None

    def short(self) -> Cause:
        """Return it with every text on one line, and cut."""
        by, route, detail = (
            None if text is None else texts.shown(text, _DETAIL)
            for text in (self.by, self.route, self.detail)
        )
        return Cause(self.why, by or "request", route, detail)


VISITORS_SHARE = 4
"""A store keeps so many times fewer traces of sessions without a user than of the others."""


class EndTraces(Protocol):
    """The traces of ended sessions, outside of the sessions.

    There is one trace per session key. Those of sessions without a user are bounded on their own,
    so that visitors who begin and end any number of sessions displace no trace of a user.

    Not promised: that every end has a trace, nor that one that was kept is found.
    """

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:
        """Keep these traces, each in place of an earlier one of the same key. One round trip.

        They are wanted for so many seconds; `trim` removes them. It works where sessions cannot be
        stored because a server's memory is full: the traces are few, and small.
        """

    def trace_of(self, key: str) -> EndTrace | None:
        """Return the trace of the session that had this store key, or None. One round trip."""

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        """Return up to `limit` traces whose keys begin like this (2 digits or more)."""

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        """Return the latest `limit` traces of a user, by pseudonym, newest first."""

    def trim(self, before: float, most: int) -> int:
        """Remove traces of ends before this time, and return how many.

        Remove also all but the latest `most` of users, and all but the latest of visitors: a
        quarter as many.
        """


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EndTrace).decode


def pack(trace: EndTrace) -> bytes:
    """Return a trace as one line of JSON, without its end."""
    return _encode(trace)


def unpack(data: bytes) -> EndTrace | None:
    """Return the trace in a line; None for one that is damaged, or of a newer release."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, ValueError):
        return None


def surplus(traces: Iterable[EndTrace], before: float, most: int) -> set[str]:
    """Return the keys of the traces that `EndTraces.trim` removes."""
    doomed: set[str] = set()
    groups: tuple[list[tuple[float, str]], ...] = ([], [])
    for trace in traces:
        if trace.at < before:
            doomed.add(trace.key)
        else:
            groups[trace.user is None].append((trace.at, trace.key))
    for group, limit in zip(groups, (most, most // VISITORS_SHARE), strict=True):
        if len(group) > limit:
            group.sort()
            doomed.update(key for _, key in group[: len(group) - limit])
    return doomed
