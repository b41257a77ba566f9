"""MetricsMiddleware: answers a path with the server's metrics, and passes all others on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError, LockTimeout
from wsgi_sessions.http.answers import plain_answer, send
from wsgi_sessions.http.response import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.http.readers import Readers
    from wsgi_sessions.metrics.server_files import Totals

_log = texts.log(__name__)


class MetricsMiddleware:
    """Answers ``GET path`` with the sum of the numbers of all processes of the server.

    In the text format of Prometheus, or that of OpenMetrics where ``Accept`` asks for it; no cache
    may keep it. Nothing in it names a session, a user or a value, but names of a session's own
    top-level keys are in it. The store is not asked. Stands outside of all other middlewares.

    Others than `readers` get 403. If the numbers cannot be read, the answer is 503, never a part of
    the sum.

    Raises ConfigurationError if prometheus_client is missing.
    """

    def __init__(
        self, app: WSGIApplication, totals: Callable[[], Totals], *, path: str, readers: Readers
    ) -> None:
        require_client()
        self.app = app
        self._totals = totals
        self._path = path
        self._readers = readers

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        if environ.get("PATH_INFO") != self._path:
            return self.app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        return send(self._answer(method, environ), method, start_response)

    def _answer(self, method: str, environ: WSGIEnvironment) -> Answer:
        from wsgi_sessions.metrics.exposition import exposition  # needs prometheus_client

        if method not in ("GET", "HEAD"):
            error = {"error": "only GET and HEAD"}
            return plain_answer("405 Method Not Allowed", error, ("Allow", "GET, HEAD"))
        if not self._readers.include(environ):
            return plain_answer("403 Forbidden", "Metrics are for this host, or need the token.")
        try:
            totals = self._totals()
        except (OSError, LockTimeout) as error:
            _log.warning("the metrics cannot be read: %s", error)
            return plain_answer(
                "503 Service Unavailable", "The metrics cannot be read: see the log."
            )
        kind, body = exposition(totals, environ.get("HTTP_ACCEPT", ""))
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        return Answer("200 OK", headers, body)


def require_client() -> None:
    """Raise ConfigurationError if prometheus_client is missing."""
    try:
        import prometheus_client  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise ConfigurationError(
            "`metrics.path` needs prometheus_client: pip install 'wsgi-sessions[metrics]'"
        ) from error
