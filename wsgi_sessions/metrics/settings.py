"""The settings of the metrics."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is what belongs there

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from wsgi_sessions import texts
from wsgi_sessions.http.readers import Audience
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import setting


@texts.shows("path", "readers")
@dataclass(frozen=True)
class MetricsConfig:
    """The path of the metrics, and its readers."""

    path: str | None = setting(
        "WSGI_SESSIONS_METRICS_PATH",
        kinds.or_off(kinds.PATH),
        "gives Prometheus the metrics of all workers of the server; needs prometheus-client",
        None,
    )
    readers: Audience = setting(
        "WSGI_SESSIONS_METRICS_READERS",
        kinds.choice(get_args(Audience)),
        "who gets metrics: this host and holders of the token for health, only the latter, or all",
        "local",
    )
