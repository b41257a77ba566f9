"""Pyramid's exception views, for the errors that are answered in place of a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import SessionError
from wsgi_sessions.http.answers import ERROR_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.http.answers import OnUnavailable

ROUTER_KEY = "wsgi_sessions.pyramid.router"
"""The environ key of the application that serves a request."""


def answer(
    page: OnUnavailable | None, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes] | None:
    """Answer one of `REFUSALS` that came up outside of Pyramid, as at the commit.

    The first that there is: an exception view whose context is the error's class, or another of
    this package; then `page`, which is the hook ``on_unavailable``; else the middleware's own
    answer. A view for Exception is for unknown errors, and is not asked.
    """
    error: SessionError = environ[ERROR_KEY]
    router = environ.get(ROUTER_KEY)
    if router is not None and _has_view(router.registry, error):
        with router.request_context(environ) as request:
            given = (type(error), error, error.__traceback__)
            response = request.invoke_exception_view(given, reraise=True)
            body: Iterable[bytes] = response(environ, start_response)
            return body
    return None if page is None else page(environ, start_response)


def _has_view(registry: Any, error: SessionError) -> bool:
    views = registry.introspector.get_category("views", ())
    contexts = (view["introspectable"].get("context") for view in views)
    return any(
        isinstance(context, type) and issubclass(context, SessionError)
        for context in contexts
        if context in type(error).__mro__
    )
