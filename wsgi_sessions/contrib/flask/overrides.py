"""Overrides in subclasses of the session interface and of `Flask`, which apply as in Flask."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Flask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flask.sessions import SessionInterface

    from wsgi_sessions.http.cookies.session_cookie import SessionCookie

_COOKIE: Mapping[str, Callable[[Any], object]] = {
    "name": lambda name: name,
    "domain": lambda domain: domain or None,
    "path": lambda path: path or "/",
    "httponly": bool,
    "secure": lambda on: "always" if on else "auto",  # as SESSION_COOKIE_SECURE
    "samesite": lambda value: value or "Lax",
    "partitioned": bool,
}

_ATTRIBUTES = {
    "SECRET_KEY": "secret_key",
    "PERMANENT_SESSION_LIFETIME": "permanent_session_lifetime",
}


def settings_of(app: Flask) -> Mapping[str, Any]:
    """Return the configuration of an application, with attributes that its class overrides."""
    own = {
        name: getattr(app, attribute)
        for name, attribute in _ATTRIBUTES.items()
        if getattr(type(app), attribute) is not getattr(Flask, attribute)
    }
    return ChainMap(own, app.config) if own else app.config


class Overrides:
    """The methods that one interface overrides.

    `cookie` maps attributes of a `CookiePolicy` to the methods that return them; the flags mark
    other overridden methods of Flask.
    """

    def __init__(self, interface: SessionInterface, base: type[SessionInterface]) -> None:
        self._interface = interface
        self.cookie = [name for name in _COOKIE if self._has(f"get_cookie_{name}", base)]
        self.expiry = self._has("get_expiration_time", base)
        self.setting = self._has("should_set_cookie", base)
        self.saving = self._has("save_session", base)
        # A policy is needed twice per request, and compiles patterns.
        self._changed = lru_cache(maxsize=256)(_changed)

    def _has(self, method: str, base: type[SessionInterface]) -> bool:
        own = getattr(self._interface, method, None)
        return getattr(own, "__func__", own) is not getattr(base, method, None)

    def cookie_for(self, app: Flask, configured: SessionCookie) -> SessionCookie:
        """Return the cookie for the current request. Raises ConfigurationError."""
        if not self.cookie:
            return configured
        return self._changed(
            configured,
            tuple(
                (name, _COOKIE[name](getattr(self._interface, f"get_cookie_{name}")(app)))
                for name in self.cookie
            ),
        )


def _changed(configured: SessionCookie, changes: tuple[tuple[str, Any], ...]) -> SessionCookie:
    return replace(configured, policy=replace(configured.policy, **dict(changes)))
