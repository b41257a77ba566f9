"""A `Config` from Django's settings and the environment.

For each setting the first of these counts:

1. its own name in the settings: ``WSGI_SESSIONS_URL``, or ``"URL"`` in the dictionary
   ``WSGI_SESSIONS``;
2. the same in the environment;
3. Django's name for it (``SECRET_KEY``, ``SESSION_COOKIE_…``);
4. the familiar variable of the environment (``USE_REDIS_SESSIONS`` with ``REDIS_URL``), but never
   ``SECRET_KEY``, ``PERMANENT_SESSION_LIFETIME`` and ``DATABASE_URL``: those are Django's.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.given import as_text
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.applications import Application, config_named, named_after, project_path
from wsgi_sessions.stack.config import SETTINGS, Config

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "WSGI_SESSIONS"
FORMER_ENGINE = f"{PREFIX}_FORMER_ENGINE"
"""The engine whose sessions are taken over; a setting of this adapter alone."""
_NOT_FROM_ENVIRON = ("SECRET_KEY", "PERMANENT_SESSION_LIFETIME", "DATABASE_URL")
_DJANGOS = {
    "WSGI_SESSIONS_COOKIE_NAME": "SESSION_COOKIE_NAME",
    "WSGI_SESSIONS_COOKIE_PATH": "SESSION_COOKIE_PATH",
    "WSGI_SESSIONS_COOKIE_DOMAIN": "SESSION_COOKIE_DOMAIN",
    "WSGI_SESSIONS_COOKIE_SECURE": "SESSION_COOKIE_SECURE",
    "WSGI_SESSIONS_COOKIE_SAMESITE": "SESSION_COOKIE_SAMESITE",
    "WSGI_SESSIONS_IDLE_LIFETIME": "SESSION_COOKIE_AGE",
    "WSGI_SESSIONS_ABSOLUTE_LIFETIME": "default in Django",
    "WSGI_SESSIONS_LOGIN_KEYS": "default in Django",
}
"""The sources of the settings that `translated` gives."""
_SECRETS = SETTINGS["secret_keys"].variables()


def config_of(settings: Any, environ: Mapping[str, str]) -> Config:
    """Return the configuration of a site. Raises ConfigurationError."""
    given = own_settings(settings)
    given.pop(FORMER_ENGINE, None)
    outside = {name: environ[name] for name in environ if name not in _NOT_FROM_ENVIRON}
    variables = {**translated(settings), **outside, **given}
    try:
        config = config_named(variables, application_of(settings))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (from Django's settings)") from None
    theirs = {ours: name for ours, name in _DJANGOS.items() if ours not in {**outside, **given}}
    sources = {**config.sources, **theirs}
    config = replace(config, signs_ids=False, remarks=(), sources=sources)
    if settings.SESSION_COOKIE_HTTPONLY is False:
        config = replace(config, cookie=replace(config.cookie, httponly=False))
    if any(name in variables for name in _SECRETS):
        return config
    sources[_SECRETS[0]] = "SECRET_KEY"
    return replace(config, secret_keys=secrets_of(settings), sources=sources)


def own_settings(settings: Any) -> dict[str, str]:
    """Return the settings under this package's own names."""
    grouped = getattr(settings, PREFIX, None) or {}
    if not isinstance(grouped, dict):
        raise ConfigurationError(f"{PREFIX}: must be a dictionary, such as {{'URL': 'redis://…'}}")
    named = {
        name: getattr(settings, name) for name in dir(settings) if name.startswith(f"{PREFIX}_")
    }
    named.update(
        (key if key.startswith(f"{PREFIX}_") else f"{PREFIX}_{key}", value)
        for key, value in grouped.items()
    )
    return {name: as_text(name, value) for name, value in named.items() if value is not None}


def translated(settings: Any) -> dict[str, str]:
    """Return Django's own settings under this package's names."""
    secure, samesite = bool(settings.SESSION_COOKIE_SECURE), settings.SESSION_COOKIE_SAMESITE
    made = {
        "WSGI_SESSIONS_COOKIE_NAME": settings.SESSION_COOKIE_NAME,
        "WSGI_SESSIONS_COOKIE_PATH": settings.SESSION_COOKIE_PATH or "/",
        "WSGI_SESSIONS_COOKIE_SECURE": "always" if secure else "auto",
        "WSGI_SESSIONS_IDLE_LIFETIME": str(max(1, int(settings.SESSION_COOKIE_AGE))),
        "WSGI_SESSIONS_ABSOLUTE_LIFETIME": "off",
        "WSGI_SESSIONS_LOGIN_KEYS": "off",
    }
    if settings.SESSION_COOKIE_DOMAIN:
        made["WSGI_SESSIONS_COOKIE_DOMAIN"] = settings.SESSION_COOKIE_DOMAIN
    if samesite in ("Lax", "Strict") or (samesite == "None" and secure):
        made["WSGI_SESSIONS_COOKIE_SAMESITE"] = samesite
    return made


def secrets_of(settings: Any) -> tuple[str, ...]:
    """Return the site's keys, newest last. They sign no session: its key is random."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    newest_first = dict.fromkeys(
        key if isinstance(key, str) else bytes(key).hex() for key in keys if key
    )
    return tuple(reversed(newest_first))


def application_of(settings: Any) -> Application:
    """Return the name of a site, derived from the place of its settings."""
    # Overridden settings in tests have no module of their own.
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(settings, "SETTINGS_MODULE", None)
    module = module or getattr(settings, "ROOT_URLCONF", None)
    file = getattr(sys.modules.get(module), "__file__", None) if isinstance(module, str) else None
    return named_after(project_path(file or f"{os.getcwd()}/{module}"))
