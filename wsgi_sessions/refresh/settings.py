"""The settings of the background refresh, and of the leases that it respects."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is what belongs there

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wsgi_sessions import texts
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import setting
from wsgi_sessions.settings.kinds import DAY, HOUR

RefreshIn = Literal["workers", "process"]


@texts.shows("hook", "interval", "where", "lease_ttl")
@dataclass(frozen=True)
class RefreshConfig:
    """The settings of the background refresh. Times are in seconds.

    `hook` names a function. `lease_ttl`: how long a dead request holds its session.
    """

    hook: str | None = setting(
        "WSGI_SESSIONS_REFRESH",
        kinds.or_off(kinds.HOOK),
        "a function that refreshes sessions that are kept alive, in the background, while unused",
        None,
    )
    interval: float = setting(
        "WSGI_SESSIONS_REFRESH_INTERVAL",
        kinds.duration(1, 7 * DAY, "60 (seconds), 90s or 10m"),
        "the interval of refreshes of a session",
        60.0,
    )
    where: RefreshIn = setting(
        "WSGI_SESSIONS_REFRESH_IN",
        kinds.choice(get_args(RefreshIn)),
        "where it runs: in each worker, or in a separate process ('wsgi-sessions refresh')",
        "workers",
    )
    lease_ttl: float = setting(
        "WSGI_SESSIONS_LEASE_TTL",
        kinds.duration(1, HOUR, "30 (seconds), 45s or 1m"),
        "how long a request that crashed keeps the refresher away from its session",
        30.0,
    )
