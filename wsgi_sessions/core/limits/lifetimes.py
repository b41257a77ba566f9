"""Lifetimes: when a session expires, and when its use is worth a write. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import LIFETIME
from wsgi_sessions.core.limits.anonymous import AnonymousRules

if TYPE_CHECKING:
    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.record.envelope import Envelope


@dataclass(frozen=True)
class Lifetimes:
    """How long a session lives, in seconds: without a request (`idle`), and at all (`absolute`).

    Both are enforced by the server (OWASP Session Management). They are counted from the last
    activity and from the creation or log-in. `anonymous` may shorten the first.
    """

    idle: float = 24 * 3600.0
    absolute: float = 30 * 24 * 3600.0
    anonymous: AnonymousRules = field(default_factory=AnonymousRules)

    def asked(self, envelope: Envelope) -> float | None:
        """The idle lifetime of a stored session's own, if it has one: by `Session.remember`, or
        because it is nobody's."""
        metadata, anonymous = envelope.metadata, self.anonymous
        # Few have one, and every load comes here.
        asked: float | None = envelope.get_metadata(LIFETIME) if LIFETIME in metadata else None
        if anonymous.idle is None or not anonymous.hold_for(metadata, envelope.data):
            return asked
        return min(anonymous.idle, asked or self.idle)

    def expiry(self, now: float, created_at: float, asked: float | None) -> float:
        """When a session active `now` expires; `asked` is its own idle lifetime, if it has one."""
        idle, absolute = now + (asked or self.idle), created_at + self.absolute
        return idle if idle < absolute else absolute

    def last_used(self, expires_at: float, created_at: float, asked: float | None) -> float:
        """When a session that expires so was last active: exact for a change, within 5 % of the
        idle lifetime for a request that only read (see `is_touch_due`), and too early by what the
        absolute lifetime has cut off."""
        return max(created_at, expires_at - (asked or self.idle))

    def is_touch_due(self, now: float, base: Snapshot, asked: float | None) -> bool:
        """Whether activity now should move the expiry: once in 5 % of the idle lifetime.

        Also if the session seems to expire later than that by far: the clock of the host that used
        it last is ahead, so that only the store knows how long it has, or the settings of former
        days gave it more time.
        """
        idle = asked or self.idle
        gain, worthwhile = now + idle - base.expires_at, idle / 20
        if gain <= worthwhile:
            return gain < -worthwhile
        return base.envelope.created_at + self.absolute > base.expires_at + worthwhile


def seconds(lifetime: timedelta | float) -> float:
    """Return an idle lifetime that an application asks for, in seconds.

    Raises ValueError for less than one second, and for one without end.
    """
    number = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    if not 1 <= number < float("inf"):
        raise ValueError(f"a lifetime of {number!r} seconds: give a second or more")
    return float(number)
