"""The sessions of a wrapped application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.stack.build import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

_INNER = ("wsgi_app", "app", "application")


def sessions_of(app: Any) -> SessionMiddleware:
    """Return the middleware that gives an application's requests their sessions.

    `app` is the result of `build`, `from_env` or Django's `wrap`, a `SessionMiddleware`, an
    application of Flask or Pyramid with the adapter of this package, or another middleware around
    one of these. Raises ValueError for anything else.
    """
    for layer in _layers(app):
        if isinstance(layer, SessionMiddleware):
            return layer
        if isinstance(layer, Stack):
            return layer.sessions
        stack = getattr(_adapter_of(layer), "stack", None)  # it is built at its first use
        built = stack() if callable(stack) else None
        if isinstance(built, Stack):
            return built.sessions
    raise ValueError(
        f"no sessions of wsgi_sessions were found in {type(app).__name__}: pass what build(), "
        "from_env() or SessionMiddleware() returned as sessions="
    )


def _adapter_of(layer: Any) -> Any:
    """Return what keeps the sessions of a Flask application, which is a layer, or of Pyramid's."""
    registry = getattr(layer, "registry", None)
    return registry.get("wsgi_sessions") if isinstance(registry, dict) else layer


def _layers(app: Any) -> Iterator[Any]:
    """Yield an application, then the ones that it wraps, from the outside in."""
    seen: list[Any] = []
    while app is not None and not any(app is known for known in seen):
        yield app
        seen.append(app)
        inner = (getattr(app, name, None) for name in _INNER)
        app = next((found for found in inner if callable(found)), None)
