"""The settings of lifetimes, sizes and the number of sessions."""

from __future__ import annotations

from typing import Any

from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Fallback, Setting
from wsgi_sessions.settings.kinds import DAY, HOUR, KIB, MIB, MINUTE

_LIFETIME = kinds.duration(1, 3650 * DAY, "1800 (seconds), 90s, 30m, 24h or 30d")


IDLE_LIFETIME = Setting[Any](
    "WSGI_SESSIONS_IDLE_LIFETIME",
    _LIFETIME,
    "an unused session ends after this time",
    float(24 * HOUR),
    fallbacks=(Fallback("PERMANENT_SESSION_LIFETIME", _LIFETIME),),
)
ABSOLUTE_LIFETIME = Setting[Any](
    "WSGI_SESSIONS_ABSOLUTE_LIFETIME",
    kinds.or_off(_LIFETIME),
    "every session ends this time after it began; not shorter than the idle lifetime",
    float(30 * DAY),
)
MAX_SIZE = Setting[Any](
    "WSGI_SESSIONS_MAX_SIZE",
    kinds.size(KIB, 64 * MIB),
    "the most that one session may take in the store",
    MIB,
)
ANONYMOUS_MAX_SIZE = Setting[Any](
    "WSGI_SESSIONS_ANONYMOUS_MAX_SIZE",
    kinds.size(KIB, 64 * MIB),
    "the same for an anonymous session: without a user by login, principal key or login keys",
    256 * KIB,
)
ANONYMOUS_IDLE_LIFETIME = Setting[Any](
    "WSGI_SESSIONS_ANONYMOUS_IDLE_LIFETIME",
    kinds.or_unset(_LIFETIME),
    "an anonymous session ends after this time without a request, at the latest",
    None,
    default_text="as for all",
)
MAX_SESSIONS = Setting[Any](
    "WSGI_SESSIONS_MAX_SESSIONS",
    kinds.or_off(kinds.whole_number(1, 10**12)),
    "at this number of sessions, no new anonymous one is made (503), and expired ones are swept "
    "at once; live ones are never evicted",
    None,
)
SWEEP_INTERVAL = Setting[Any](
    "WSGI_SESSIONS_SWEEP_INTERVAL",
    kinds.or_off(kinds.duration(1, 7 * DAY, "600 (seconds), 10m or 1h")),
    "how often one worker removes expired sessions and leftovers",
    float(10 * MINUTE),
)
ENDINGS_KEPT = Setting[Any](
    "WSGI_SESSIONS_ENDINGS_KEPT",
    kinds.duration(0, 400 * DAY, "7d, 12h, or 0 (not at all)"),
    "how long the store keeps why a session ended, after its end; bounded in number",
    7.0 * DAY,
)
