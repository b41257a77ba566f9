"""The settings of single requests: which wait for each other, and what they are answered."""

from __future__ import annotations

from typing import Any, Literal, get_args

from wsgi_sessions.core.commit.loop import OnConflict
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Setting
from wsgi_sessions.settings.kinds import MINUTE

BusyStatus = Literal["503", "429"]

EARLY_COOKIE = Setting[Any](
    "WSGI_SESSIONS_EARLY_COOKIE",
    kinds.SWITCH,
    "whether a visitor who loads a page without a session gets one, before scripts ask",
    default=False,
)
RETRY_TOKEN_HEADER = Setting[Any](
    "WSGI_SESSIONS_RETRY_TOKEN_HEADER",
    kinds.or_off(kinds.HEADER),
    "a request header by which a request that is sent again within a minute is known, and not "
    "stored twice",
    None,
)
EXCLUSIVE_PATHS = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_PATHS",
    kinds.PATH_PATTERNS,
    "requests on these paths run one at a time per session; no security boundary",
    (),
)
EXCLUSIVE_WAIT = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_WAIT",
    kinds.duration(0.01, 5 * MINUTE, "5 (seconds), 500ms or 1m"),
    "how long a request waits for a session that another one holds, before the answer is 503",
    5.0,
)
EXCLUSIVE_WAITERS = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_WAITERS",
    kinds.whole_number(0, 10**6),
    "how many requests of a process wait for one session at a time; more are refused at once",
    2,
)
BUSY_STATUS = Setting[Any](
    "WSGI_SESSIONS_BUSY_STATUS",
    kinds.choice(get_args(BusyStatus)),
    "the answer to a request that finds too many others waiting for its session",
    "503",
)
ON_UNAVAILABLE = Setting[Any](
    "WSGI_SESSIONS_ON_UNAVAILABLE",
    kinds.HOOK,
    "a WSGI application that answers where a session could not be reached or stored (503, 409)",
    None,
)
ON_CONFLICT = Setting[Any](
    "WSGI_SESSIONS_ON_CONFLICT",
    kinds.choice(get_args(OnConflict)),
    "when two requests changed the same key: the last wins (and is reported), or answer 409",
    "last-wins",
)
