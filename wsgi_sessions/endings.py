"""The ends of sessions: their reasons, each one word everywhere, and the traces a store keeps.

A trace tells, after a session is over, why it is not there. It is an aid to explanation, never the
truth about a session: it is written after the end, best-effort, and a crash in between loses it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        "taken-over": "it moved to another store",
        "swept": "a command removed it as unused",
    }
)
RefusalReason = Literal["signature", "unknown"]
"""Further reasons why a presented cookie leads to no session: its signature does not verify; or
nothing is known about its session (any more)."""
REFUSALS: Mapping[RefusalReason, str] = MappingProxyType(
    {
        "signature": "no secret of this application signed the cookie",
        "unknown": "the store has neither the session nor a trace of its end",
    }
)
_DETAIL = 200


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
