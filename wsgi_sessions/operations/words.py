"""Times and numbers in words, for people who look at a store."""

from __future__ import annotations

from datetime import datetime, timezone

from wsgi_sessions.settings.kinds import DAY, HOUR, MINUTE


def counted(number: int, noun: str) -> str:
    """Return ``1 session`` or ``2 sessions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def timestamp(at: float) -> str:
    """Return seconds since the epoch as a date and time in UTC."""
    try:
        return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "(no time)"


def ago(at: float, now: float) -> str:
    """Return the time since: ``5 min ago``."""
    return f"{span(max(now - at, 0))} ago"


def until(at: float, now: float) -> str:
    """Return the time until: ``in 23 h``."""
    return f"in {span(max(at - now, 0))}"


def span(seconds: float) -> str:
    """Return it in the largest unit of which there are two or more."""
    for length, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
