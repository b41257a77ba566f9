"""Background refreshes of sessions, and the number of skips."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wsgi_sessions import Event, Session
    from wsgi_sessions.demo.database import Database

INTERVAL = 4.0


class Skips(NamedTuple):
    """The number of skips of a session since its last refresh, and the time of the latest."""

    number: int
    at: float


class KeepAlive:
    """The refresh hook, and the skips of sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run(
            "CREATE TABLE IF NOT EXISTS skips (session TEXT PRIMARY KEY, number INTEGER, at REAL)"
        )

    def refresh(self, session: Session) -> None:
        """Refresh a session, as the hook of `Refresher`; for example, renew a token."""
        session.increment("refreshes")
        session["refreshed_by"] = os.getpid()

    def note(self, event: Event) -> None:
        """Count skips of a session since its last refresh, as the event hook."""
        if event.name == "refresh-skipped":
            self._database.run(
                "INSERT INTO skips VALUES (?, 1, ?) ON CONFLICT (session) "
                "DO UPDATE SET number = number + 1, at = excluded.at",
                *(event.key, time.time()),
            )
        elif event.name == "refreshed":
            self._database.run("DELETE FROM skips WHERE session = ?", event.key)

    def skips(self, short_key: str) -> Skips | None:
        """Return the skips of the session with this short key; None after a refresh."""
        rows = self._database.run("SELECT number, at FROM skips WHERE session = ?", short_key)
        return Skips(*rows[0]) if rows else None
