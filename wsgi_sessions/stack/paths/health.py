"""The health and the liveness path, as configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.health.checker import fingerprint
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.stack.places import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config


def with_health(
    app: WSGIApplication, config: Config, backend: Backend, secrets: Sequence[str]
) -> WSGIApplication:
    """Return the application with the paths of its health, if there are any."""
    health = config.health
    if health.path is None and health.liveness_path is None:
        return app
    return HealthMiddleware(
        app,
        backend,
        path=health.path,
        liveness=health.liveness_path,
        timeout=health.timeout,
        fingerprints=[fingerprint(secret) for secret in secrets],
        place=place_of(config),
        details=health.details,
        token=health.token,
    ).__call__
