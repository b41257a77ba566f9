"""The settings of the health and the liveness path."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal, get_args

from wsgi_sessions.identity import MIN_SECRET_BYTES
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import SecretFile, Setting

HealthDetails = Literal["local", "token", "all"]


def _show(token: str | None) -> str:
    return kinds.UNSET if token is None else kinds.HIDDEN


_TOKEN = replace(
    kinds.matching(
        re.compile(rf"[!-~]{{{MIN_SECRET_BYTES},512}}"),
        f"{MIN_SECRET_BYTES} printable ASCII characters or more, without blanks",
    ),
    show=_show,
    conceal=lambda _: kinds.HIDDEN,
)

PATH = Setting[Any](
    "WSGI_SESSIONS_HEALTH_PATH",
    kinds.or_off(kinds.PATH),
    "answers whether the session store is fit to serve",
    "/health/session",
)
LIVENESS_PATH = Setting[Any](
    "WSGI_SESSIONS_LIVENESS_PATH",
    kinds.or_off(kinds.PATH),
    "answers that this worker serves requests, and never asks the store",
    "/health/live",
)
TIMEOUT = Setting[Any](
    "WSGI_SESSIONS_HEALTH_TIMEOUT",
    kinds.duration(0.01, kinds.MINUTE, "2 (seconds), 500ms or 5s"),
    "how long the store may take before it is held to be unhealthy",
    2.0,
)
DETAILS = Setting[Any](
    "WSGI_SESSIONS_HEALTH_DETAILS",
    kinds.choice(get_args(HealthDetails)),
    "who sees more than healthy or not: this host and holders of the token, those alone, or all",
    "local",
)
TOKEN = Setting[Any](
    "WSGI_SESSIONS_HEALTH_TOKEN",
    _TOKEN,
    "what such a holder sends as `Authorization: Bearer …`; or name a file that holds it",
    None,
    file=SecretFile("WSGI_SESSIONS_HEALTH_TOKEN_FILE", _TOKEN),
)


def faults_of(details: HealthDetails, token: str | None) -> list[str]:
    """What is wrong with the two together: without a token nobody has it."""
    if details != "token" or token is not None:
        return []
    needed = "WSGI_SESSIONS_HEALTH_TOKEN: make one with 'wsgi-sessions keygen'"
    return [f"WSGI_SESSIONS_HEALTH_DETAILS=token needs {needed}"]
