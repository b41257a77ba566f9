"""Sessions that are refreshed in the background, and how often the refresher skips one over."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wsgi_sessions import Event, Session
    from wsgi_sessions.demo.database import Database

INTERVAL = 4.0


class Skips(NamedTuple):
    """How often a session was skipped since it was last refreshed, and when it was so last."""

    number: int
    at: float


class KeepAlive:
    """The refreshes of sessions, and the times they were skipped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run(
            "CREATE TABLE IF NOT EXISTS skips (session TEXT PRIMARY KEY, number INTEGER, at REAL)"
        )

    def refresh(self, session: Session) -> None:
        """The hook of `Refresher`. It could renew the token of another service, say."""
        session.increment("refreshes")
        session["refreshed_by"] = os.getpid()

    def note(self, event: Event) -> None:
        """The event hook: count how often a session is skipped, from each refresh on."""
        if event.name == "refresh-skipped":
            self._database.run(
                "INSERT INTO skips VALUES (?, 1, ?) ON CONFLICT (session) "
                "DO UPDATE SET number = number + 1, at = excluded.at",
                *(event.key, time.time()),
            )
        elif event.name == "refreshed":
            self._database.run("DELETE FROM skips WHERE session = ?", event.key)

    def skips(self, short_key: str) -> Skips | None:
        """Of the session with this short key; None since it was last refreshed."""
        rows = self._database.run("SELECT number, at FROM skips WHERE session = ?", short_key)
        return Skips(*rows[0]) if rows else None
