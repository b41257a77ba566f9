"""The settings of the health and the liveness path."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is what belongs there

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import get_args

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.readers import Audience
from wsgi_sessions.identity import MIN_SECRET_BYTES
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import SecretFile, setting


def _hide(_token: str) -> str:
    return kinds.HIDDEN


_TOKEN = kinds.or_unset(
    replace(
        kinds.matching(
            re.compile(rf"[!-~]{{{MIN_SECRET_BYTES},512}}"),
            f"{MIN_SECRET_BYTES} printable ASCII characters or more, without blanks",
        ),
        show=_hide,
        conceal=_hide,
    )
)


@texts.shows("path", "liveness_path", "timeout", "details")
@dataclass(frozen=True)
class HealthConfig:
    """The health paths, and the readers of their details. Raises ConfigurationError."""

    path: str | None = setting(
        "WSGI_SESSIONS_HEALTH_PATH",
        kinds.or_off(kinds.PATH),
        "reports whether the session store is healthy",
        "/health/session",
    )
    liveness_path: str | None = setting(
        "WSGI_SESSIONS_LIVENESS_PATH",
        kinds.or_off(kinds.PATH),
        "reports that this worker serves requests, without contacting the store",
        "/health/live",
    )
    timeout: float = setting(
        "WSGI_SESSIONS_HEALTH_TIMEOUT",
        kinds.duration(0.01, kinds.MINUTE, "2 (seconds), 500ms or 5s"),
        "how long the store may take before it counts as unhealthy",
        2.0,
    )
    details: Audience = setting(
        "WSGI_SESSIONS_HEALTH_DETAILS",
        kinds.choice(get_args(Audience)),
        "who sees details: this host and holders of the token, only the latter, or all",
        "local",
    )
    token: str | None = setting(
        "WSGI_SESSIONS_HEALTH_TOKEN",
        _TOKEN,
        "the token, sent as `Authorization: Bearer …`; or name a file with it",
        None,
        file=SecretFile("WSGI_SESSIONS_HEALTH_TOKEN_FILE", _TOKEN),
    )

    def __post_init__(self) -> None:
        require_token(self.details, self.token)


def require_token(details: Audience, token: str | None) -> None:
    """Raise ConfigurationError if details need a token, and there is none."""
    if details == "token" and token is None:
        raise ConfigurationError(
            "`health.details=token` needs `health.token`: make one with 'wsgi-sessions keygen'"
        )
