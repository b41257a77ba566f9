"""A session as often implemented: load all of it, change it, write all of it back.

No write is torn and no file is damaged. Yet of two overlapping requests, the one that ends last
overwrites the changes of the other. It is here for comparison, not for use.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from typing import Any


class NaiveSession(dict[str, Any]):
    """A dictionary, with the two operations of `wsgi_sessions.Session` that the race uses."""

    def append(self, key: str, value: Any) -> None:
        """Append to a list (absent: empty)."""
        self[key] = [*self.get(key, []), value]

    def increment(self, key: str, by: int = 1) -> None:
        """Add to a number (absent: 0)."""
        self[key] = self.get(key, 0) + by


class NaiveSessions:
    """Sessions in JSON files, one each, in an existing folder. The last write wins."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def open(self, session_id: str | None) -> tuple[str, NaiveSession]:
        """Return the whole session with this id, or an empty one with a new id."""
        if session_id is not None and re.fullmatch(r"[0-9a-f]{32}", session_id):
            try:
                with open(self._path(session_id), encoding="utf-8") as file:
                    return session_id, NaiveSession(json.load(file))
            except FileNotFoundError:
                pass
        return secrets.token_hex(16), NaiveSession()

    def save(self, session_id: str, session: NaiveSession) -> None:
        """Write the whole session atomically, over any other state."""
        temporary = f"{self._path(session_id)}.{secrets.token_hex(4)}"
        with open(temporary, "x", encoding="utf-8") as file:
            json.dump(session, file)
        os.replace(temporary, self._path(session_id))

    def _path(self, session_id: str) -> str:
        return os.path.join(self._folder, f"{session_id}.json")
