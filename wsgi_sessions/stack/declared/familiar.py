"""Familiar variables that may name a store for other purposes: which is used, and why.

One rule: if ``WSGI_SESSIONS_URL`` is not set, a familiar variable is used if its switch is on. The
switch of ``REDIS_URL`` defaults to off, since that is usually a cache; the switch of
``DATABASE_URL`` defaults to on. The effect of an unset switch is logged at the start.
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
    """Return a sentence for each such variable that is used or ignored by default.

    `source` is the origin of the store's URL.
    """
    if URL in environ:
        return ()
    told = []
    if environ.get("DATABASE_URL") and DATABASE_SWITCH not in environ and "DATABASE_URL" in source:
        told.append(
            f"DATABASE_URL ({_shown(environ['DATABASE_URL'])}) is used for sessions because {URL} "
            f"is not set: set that, or set {DATABASE_SWITCH} to on or off"
        )
    if environ.get("REDIS_URL") and REDIS_SWITCH not in environ:
        told.append(
            f"REDIS_URL ({_shown(environ['REDIS_URL'])}) is not used for sessions because "
            f"{REDIS_SWITCH} is not set: set it to on or off, or set {URL}"
        )
    return tuple(told)


def _shown(url: str) -> str:
    return hide_credentials(url)[:200]
