"""A `Config` from Pyramid's settings and the environment. Imports no Pyramid.

For each setting the first of these counts:

1. its own name in ``registry.settings``: ``wsgi_sessions.url``;
2. the same in the environment: ``WSGI_SESSIONS_URL``;
3. the familiar variable of the environment (``USE_REDIS_SESSIONS`` with ``REDIS_URL``).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.given import as_text
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.applications import Application, config_named, named_after, project_path
from wsgi_sessions.stack.config import SETTINGS, Config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

PREFIX = "wsgi_sessions."
PRINCIPAL_KEY = "auth.userid"
"""The key of Pyramid's SessionAuthenticationHelper for the user who is logged in."""
_DEFAULTS = {"WSGI_SESSIONS_PRINCIPAL_KEY": PRINCIPAL_KEY}
_SECRETS = SETTINGS["secret_keys"].variables()


def config_of(
    settings: Mapping[str, Any], environ: Mapping[str, str], application: Application
) -> Config:
    """Return the configuration of an application that has this name if no setting gives it one.

    Raises ConfigurationError.
    """
    given = _own_settings(settings)
    hidden = _SECRETS if any(name in given for name in _SECRETS) else ()
    outside = {name: environ[name] for name in environ if name not in hidden}
    try:
        return config_named({**_DEFAULTS, **outside, **given}, application)
    except ConfigurationError as error:
        raise ConfigurationError(_as_in_settings(str(error), given)) from None


def url_of(settings: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the store that is named, or an empty text."""
    return {**environ, **_own_settings(settings)}.get("WSGI_SESSIONS_URL", "")


def application_of(package: ModuleType) -> Application:
    """Return the name of an application, derived from where its package lies."""
    file = getattr(package, "__file__", None)
    place = file or next(iter(getattr(package, "__path__", ())), None)
    return named_after(project_path(place or f"{os.getcwd()}/{package.__name__}"))


def _own_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        _variable(name): as_text(name, value)
        for name, value in settings.items()
        if isinstance(name, str) and name.startswith(PREFIX) and value is not None
    }


def _variable(name: str) -> str:
    """Return the variable of a setting, such as ``wsgi_sessions.cookie_name``."""
    return name.replace(".", "_").upper()


def _as_in_settings(text: str, given: Mapping[str, str]) -> str:
    """Return a message that names settings as they were given."""

    def named(found: re.Match[str]) -> str:
        name = found[0]
        if name not in given:
            return name
        return f"{PREFIX}{name.removeprefix('WSGI_SESSIONS_').lower()}"

    return re.sub(r"\bWSGI_SESSIONS_[A-Z_]+", named, text)
