"""The settings of the refresh in the background, and of the leases that it heeds."""

from __future__ import annotations

from typing import Any, Literal, get_args

from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Setting
from wsgi_sessions.settings.kinds import DAY, HOUR

RefreshIn = Literal["workers", "process"]

REFRESH = Setting[Any](
    "WSGI_SESSIONS_REFRESH",
    kinds.or_off(kinds.HOOK),
    "refreshes sessions that are kept alive, in the background, while no request uses them",
    None,
)
REFRESH_INTERVAL = Setting[Any](
    "WSGI_SESSIONS_REFRESH_INTERVAL",
    kinds.duration(1, 7 * DAY, "60 (seconds), 90s or 10m"),
    "how often a session is refreshed",
    60.0,
)
REFRESH_IN = Setting[Any](
    "WSGI_SESSIONS_REFRESH_IN",
    kinds.choice(get_args(RefreshIn)),
    "where: in each worker, or in a process of its own ('wsgi-sessions refresh')",
    "workers",
)
LEASE_TTL = Setting[Any](
    "WSGI_SESSIONS_LEASE_TTL",
    kinds.duration(1, HOUR, "30 (seconds), 45s or 1m"),
    "how long a request that died keeps the refresher away from its session",
    30.0,
)
