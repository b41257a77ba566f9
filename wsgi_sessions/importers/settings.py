"""The settings of importing sessions of another library."""

# ruff: noqa: RUF009 - `setting` returns a dataclasses.field, which is what belongs there

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import SecretFile, setting

_URL = replace(
    kinds.or_unset(kinds.URL),
    allowed="a URL such as flask-session+redis://host/0, django+postgresql://host/database or "
    "flask-cookie://",
)


def _parse_day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError
    return date.fromisoformat(text)


_DAY = kinds.Kind[Any](_parse_day, "a day such as 2030-12-31")
_SECRETS = replace(
    kinds.SECRET_LINES,
    parse=lambda text: tuple(line.strip() for line in text.splitlines() if line.strip()),
    allowed="the former secrets, one per line",
)


@texts.shows("until")
@dataclass(frozen=True)
class ImportConfig:
    """The source of sessions to import when their users come back, and the last day of it.

    Raises ConfigurationError without a last day.
    """

    source: str | None = setting(
        "WSGI_SESSIONS_IMPORT_FROM",
        _URL,
        "sessions of another library, which are imported when their users come back",
        None,
    )
    until: date | None = setting(
        "WSGI_SESSIONS_IMPORT_UNTIL", _DAY, "the last day (UTC) on which they are imported", None
    )
    secret_keys: tuple[str, ...] = setting(
        "WSGI_SESSIONS_IMPORT_SECRET_KEYS",
        _SECRETS,
        "the SECRET_KEY of the application that wrote them, if they are signed, and earlier "
        "ones; or name a file with them",
        (),
        file=SecretFile("WSGI_SESSIONS_IMPORT_SECRET_KEYS_FILE", _SECRETS),
    )

    def __post_init__(self) -> None:
        if self.source is not None and self.until is None:
            raise ConfigurationError(
                "`imports.source` needs `imports.until`: the last day on which old sessions are "
                "imported"
            )
