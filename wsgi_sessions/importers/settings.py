"""The settings of importing another library's sessions."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

from wsgi_sessions.settings import kinds
from wsgi_sessions.settings.declaration import SecretFile, Setting

_URL = replace(
    kinds.URL,
    allowed="a URL such as flask-session+redis://host/0, django+postgresql://host/database or "
    "flask-cookie://",
    show=lambda url: kinds.UNSET if url is None else kinds.URL.show(url),
)


def _parse_day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError
    return date.fromisoformat(text)


_DAY = kinds.Kind[Any](_parse_day, "a day such as 2030-12-31")
_SECRETS = replace(
    kinds.SECRET_LINES,
    parse=lambda text: tuple(line.strip() for line in text.splitlines() if line.strip()),
    allowed="secrets as they were, one a line",
)


FROM = Setting[Any](
    "WSGI_SESSIONS_IMPORT_FROM",
    _URL,
    "sessions of another library that are imported when their users come",
    None,
)
UNTIL = Setting[Any](
    "WSGI_SESSIONS_IMPORT_UNTIL", _DAY, "the last day (UTC) on which they are", None
)
SECRET_KEYS = Setting[Any](
    "WSGI_SESSIONS_IMPORT_SECRET_KEYS",
    _SECRETS,
    "the SECRET_KEY of the application that wrote them, if they are signed, and earlier ones; or "
    "name a file of them",
    (),
    file=SecretFile("WSGI_SESSIONS_IMPORT_SECRET_KEYS_FILE", _SECRETS),
)


def faults_of(url: str | None, until: date | None) -> list[str]:
    """What is wrong with the two together: the import has to have an end."""
    if url is None or until is not None:
        return []
    needed = "WSGI_SESSIONS_IMPORT_UNTIL: the last day on which old sessions are imported"
    return [f"WSGI_SESSIONS_IMPORT_FROM needs {needed}"]
