"""The expiry of a session by Django's ``set_expiry`` and settings, as it is stored."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from django.utils.timezone import is_naive, make_aware

from wsgi_sessions.clock import wall_clock

if TYPE_CHECKING:
    from wsgi_sessions.contrib.django.engine import SessionStore

EXPIRY_KEY = "_session_expiry"


def lifetime_of(session: SessionStore, idle: float) -> float | datetime | None:
    """Return the lifetime that differs from the configured `idle` seconds: seconds or a moment.

    0 and None, with which the cookie ends with the browser or as configured, ask for nothing.
    """
    expiry = session.get(EXPIRY_KEY)
    if isinstance(expiry, (str, datetime)):
        return _moment(expiry)
    wanted = float(expiry or session.get_session_cookie_age())
    return None if wanted == idle or wanted < 1 else wanted


def is_over(session: SessionStore) -> bool:
    """Return whether the session asks for an end in the past."""
    expiry = session.get(EXPIRY_KEY)
    if isinstance(expiry, (str, datetime)):
        return _moment(expiry).timestamp() <= wall_clock()
    return expiry is not None and expiry < 0


def _moment(expiry: Any) -> datetime:
    moment = expiry if isinstance(expiry, datetime) else datetime.fromisoformat(expiry)
    return (make_aware(moment) if is_naive(moment) else moment).astimezone(timezone.utc)
