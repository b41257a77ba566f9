"""Familiar variables that name a store for other things too: which is used, and why.

The rule is one for all: where ``WSGI_SESSIONS_URL`` is absent, a familiar variable is used if its
switch is on. That of ``REDIS_URL`` is off unless it is set, since it is mostly a cache's; that of
``DATABASE_URL`` is on unless it is set. What follows from a switch that is not set is said at the
start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.settings.kinds import hide_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "WSGI_SESSIONS_URL"
REDIS_SWITCH = "USE_REDIS_SESSIONS"
DATABASE_SWITCH = "USE_DATABASE_SESSIONS"


def remarks_on(environ: Mapping[str, str], source: str) -> tuple[str, ...]:
    """A sentence for each such variable that is used, or left, unasked.

    `source` tells where the store's URL came from.
    """
    if URL in environ:
        return ()
    told = []
    if environ.get("DATABASE_URL") and DATABASE_SWITCH not in environ and "DATABASE_URL" in source:
        told.append(
            f"DATABASE_URL ({_shown(environ['DATABASE_URL'])}) is used for sessions, since {URL} "
            f"is not set: name a store in that, or set {DATABASE_SWITCH} to on, or to off"
        )
    if environ.get("REDIS_URL") and REDIS_SWITCH not in environ:
        told.append(
            f"REDIS_URL ({_shown(environ['REDIS_URL'])}) is not used for sessions, since "
            f"{REDIS_SWITCH} is not set: set it to on, or to off; or name a store in {URL}"
        )
    return tuple(told)


def _shown(url: str) -> str:
    return hide_credentials(url)[:200]
