"""The settings of single requests: mutual exclusion, and answers to failures."""

from __future__ import annotations

from typing import Any, Literal, get_args

from wsgi_sessions.core.commit.loop import OnConflict
from wsgi_sessions.core.merge.policies import MergePolicy
from wsgi_sessions.core.merge.rules import PATTERN
from wsgi_sessions.http.retry import DEFAULT_MAX_BODY
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import Setting
from wsgi_sessions.settings.kinds import MIB, MINUTE, UNSET, Kind

BusyStatus = Literal["503", "429"]
MergePairs = tuple[tuple[str, str], ...]
"""Pairs of a pattern and its policy: a name, or a function as package.module:function."""


def _parse_merge(text: str) -> MergePairs:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        pattern, _, policy = (each.strip() for each in part.partition(":"))
        is_known = policy in get_args(MergePolicy)
        if not PATTERN.fullmatch(pattern) or not (is_known or kinds.HOOK_PATH.fullmatch(policy)):
            raise ValueError
        if pattern in pairs:
            raise ValueError("a path has two policies")
        pairs[pattern] = policy
    return tuple(pairs.items())


EARLY_COOKIE = Setting[Any](
    "WSGI_SESSIONS_EARLY_COOKIE",
    kinds.SWITCH,
    "whether loading a page without a session begins one, before scripts make requests",
    default=False,
)
LABEL_DEVICES = Setting[Any](
    "WSGI_SESSIONS_LABEL_DEVICES",
    kinds.SWITCH,
    "whether a log-in labels its session by the User-Agent (`Firefox on Linux`): extra `devices`",
    default=False,
)
RETRY_TOKEN_HEADER = Setting[Any](
    "WSGI_SESSIONS_RETRY_TOKEN_HEADER",
    kinds.or_off(kinds.HEADER),
    "a request header that identifies a request repeated within a minute, so that it is not "
    "stored twice",
    None,
)
EXCLUSIVE_PATHS = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_PATHS",
    kinds.PATH_PATTERNS,
    "requests on these paths run one at a time per session; this is not a security boundary",
    (),
)
EXCLUSIVE_WAIT = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_WAIT",
    kinds.duration(0.01, 5 * MINUTE, "5 (seconds), 500ms or 1m"),
    "how long a request waits for a session held by another one, before the answer is 503",
    5.0,
)
EXCLUSIVE_WAITERS = Setting[Any](
    "WSGI_SESSIONS_EXCLUSIVE_WAITERS",
    kinds.whole_number(0, 10**6),
    "how many requests of a process may wait for one session; more are refused at once",
    2,
)
BUSY_STATUS = Setting[Any](
    "WSGI_SESSIONS_BUSY_STATUS",
    kinds.choice(get_args(BusyStatus)),
    "the answer to a request when too many others wait for its session",
    "503",
)
ON_UNAVAILABLE = Setting[Any](
    "WSGI_SESSIONS_ON_UNAVAILABLE",
    kinds.HOOK,
    "a WSGI application that answers when a session cannot be reached or stored (503, 409)",
    None,
)
ON_CONFLICT = Setting[Any](
    "WSGI_SESSIONS_ON_CONFLICT",
    kinds.choice(get_args(OnConflict)),
    "when two requests changed the same key: the last one wins (reported), or answer 409",
    "last-wins",
)
RETRY_PATHS = Setting[Any](
    "WSGI_SESSIONS_RETRY_PATHS",
    kinds.PATH_PATTERNS,
    "requests on these paths are run again instead of meeting a conflict: calling the application "
    "twice must do no harm",
    (),
)
RETRY_MAX_BODY = Setting[Any](
    "WSGI_SESSIONS_RETRY_MAX_BODY",
    kinds.size(0, 64 * MIB),
    "the longest request body that is kept for that; requests with a longer one are run once",
    DEFAULT_MAX_BODY,
)
MERGE = Setting[Any](
    "WSGI_SESSIONS_MERGE",
    Kind[MergePairs](
        _parse_merge,
        "paths of session keys with their policies (one of "
        f"{', '.join(get_args(MergePolicy))}, or package.module:function), separated by commas: "
        "visits:sum,cart.*.count:sum,log:append",
        lambda pairs: ",".join(map(":".join, pairs)) or UNSET,
    ),
    "what it means when two requests change one value at once, so that neither change is lost",
    (),
)
