"""Moments that an operator types: a time of day, or a date and time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ALLOWED = (
    "must be a time of day such as 14:03, or a date and time such as 2026-11-30T14:03; both are "
    "UTC, unless the latter has an offset such as +01:00"
)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def moment(text: str, now: Callable[[], datetime] = _now) -> float:
    """Return the moment that a text names, in seconds since the epoch.

    A time of day is the last one that is over, in UTC. Raises ValueError.
    """
    text = text.strip()
    found = _TIME_OF_DAY.fullmatch(text)
    if found is None:
        named = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if "T" not in text.upper() and " " not in text:
            raise ValueError("a date without a time")
        return (named if named.tzinfo else named.replace(tzinfo=timezone.utc)).timestamp()
    present = now()
    hour, minute, second = (int(part or 0) for part in found.groups())
    today = present.replace(hour=hour, minute=minute, second=second, microsecond=0)
    return (today if today <= present else today - timedelta(days=1)).timestamp()


def moment_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Callback of a parameter that takes a moment; returns seconds since the epoch."""
    try:
        return None if value is None else moment(value)
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"{value!a}: {_ALLOWED}") from None
