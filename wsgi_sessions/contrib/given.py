"""Settings that a framework's configuration gives in Python, as the environment would have them."""

from __future__ import annotations

import os
from datetime import date, timedelta

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError


def as_text(name: str, value: object) -> str:
    """Return the text of a setting's value. Raises ConfigurationError, which names the setting."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, (list, tuple)):
        return ",".join(as_text(name, item) for item in value)
    raise ConfigurationError(
        f"{texts.named(name)}: cannot be a {type(value).__name__}; set it to text"
    )
