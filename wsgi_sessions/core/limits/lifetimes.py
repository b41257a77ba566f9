"""Lifetimes: when a session expires, and when its use is worth a write. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.draft import LIFETIME
from wsgi_sessions.core.limits.anonymous import AnonymousRules

if TYPE_CHECKING:
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.record.envelope import Envelope

_SHORTEST = 1.0


@texts.shows("idle", "at")
class FixedEnd(NamedTuple):
    """The fixed end of a session: a moment, or a time without requests, whichever is first.

    `at`: in seconds since the epoch. `idle`: in seconds.
    """

    at: float
    idle: float = math.inf

    def after(self, now: float) -> float:
        """Return the end of a session active `now`; never in the past, which no store takes."""
        return max(min(now + self.idle, self.at), now + _SHORTEST)


Asked = float | FixedEnd | None
"""A session's own lifetime: seconds without a request, a fixed end, or None."""


@dataclass(frozen=True)
class Lifetimes:
    """The lifetimes of sessions, in seconds, enforced by the server (OWASP Session Management).

    Args:
        idle: the time without a request, counted from the last activity.
        absolute: the time in all, counted from the creation or the last log-in; `math.inf`: no such
            end.
        anonymous: rules that may shorten `idle` for sessions without a user.
    """

    idle: float = 24 * 3600.0
    absolute: float = 30 * 24 * 3600.0
    anonymous: AnonymousRules = field(default_factory=AnonymousRules)

    def asked(self, envelope: Envelope) -> Asked:
        """Return a stored session's own idle lifetime, or its own end, or None.

        It has one by `Session.remember`, or because it is anonymous.
        """
        metadata, anonymous = envelope.metadata, self.anonymous
        # Few have one, and every load comes here.
        asked = _asked(envelope.get_metadata(LIFETIME)) if LIFETIME in metadata else None
        if anonymous.idle is None or not anonymous.hold_for(metadata, envelope.data):
            return asked
        if isinstance(asked, FixedEnd):
            return FixedEnd(asked.at, anonymous.idle)
        return min(anonymous.idle, asked or self.idle)

    def expiry(self, now: float, created_at: float, asked: Asked) -> float:
        """Return the expiry of a session active `now`; `asked`: its own lifetime, or None."""
        if asked is None:
            idle = now + self.idle
        else:
            idle = asked.after(now) if isinstance(asked, FixedEnd) else now + asked
        absolute = created_at + self.absolute
        return idle if idle < absolute else absolute

    def listed_until(self, now: float, envelope: Envelope) -> float:
        """Return the time until which a principal's index needs the session, active `now`.

        That is the last possible moment of the session, so that a touch needs no index call.
        Without such a moment, the time to its expiry is doubled: a use before that puts the entry
        back.
        """
        end = envelope.created_at + self.absolute
        if end < math.inf:
            return end
        expires_at = self.expiry(now, envelope.created_at, self.asked(envelope))
        return expires_at + max(expires_at - now, 0.0)

    def last_used(self, expires_at: float, created_at: float, asked: Asked) -> float:
        """Return the last activity of a session with this expiry.

        Exact for a change; within 5 % of the idle lifetime for a request that only read (see
        `is_touch_due`); and too early by what the absolute lifetime, or an end of its own, has cut
        off.
        """
        if isinstance(asked, FixedEnd):
            asked = asked.idle
        return max(created_at, expires_at - (asked or self.idle))

    def is_touch_due(self, now: float, base: Snapshot, asked: Asked) -> bool:
        """Return whether activity now should move the expiry: once in 5 % of the idle lifetime.

        Also if the session seems to expire far later than that: either the clock of the host that
        used it last is ahead, so that only the store knows the remaining time, or earlier settings
        gave it more.
        """
        if isinstance(asked, FixedEnd):
            if asked.idle == math.inf:
                return False
            asked = asked.idle
        idle = asked or self.idle
        gain, worthwhile = now + idle - base.expires_at, idle / 20
        if gain <= worthwhile:
            return gain < -worthwhile
        return base.envelope.created_at + self.absolute > base.expires_at + worthwhile


def _asked(mark: float | datetime) -> Asked:
    return FixedEnd(mark.timestamp()) if isinstance(mark, datetime) else mark


def endless(absolute: float | None) -> float:
    """Return an absolute lifetime as `Lifetimes` takes it; None has no end."""
    return math.inf if absolute is None else absolute


def checked(lifetime: timedelta | float | datetime) -> float | datetime:
    """Return what an application asks for as it is stored: idle seconds, or the moment of its end.

    Raises ValueError for less than one second, for a lifetime without end, and for a moment without
    a time zone.
    """
    if not isinstance(lifetime, datetime):
        return seconds(lifetime)
    if lifetime.tzinfo is None:
        raise ValueError("a moment without a time zone: give one, such as timezone.utc")
    return lifetime


def seconds(lifetime: timedelta | float) -> float:
    """Return an idle lifetime that an application asks for, in seconds.

    Raises ValueError for less than one second, and for one without end.
    """
    number = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    if not 1 <= number < float("inf"):
        raise ValueError(f"a lifetime of {number!r} seconds: give a second or more")
    return float(number)
