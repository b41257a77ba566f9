"""Teams in the database, from which the data of sessions is built."""

from __future__ import annotations

import os
import zlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions import Session
    from wsgi_sessions.demo.database import Database

LOADED = ("team", "points", "loaded_at", "loaded_by", "loaded_in")
"""The session keys that come from the database."""

_NAMES = ("Badgers", "Herons", "Otters", "Ravens")


class Teams:
    """Teams that win points."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run("CREATE TABLE IF NOT EXISTS teams (name TEXT PRIMARY KEY, points INTEGER)")
        for name in _NAMES:
            database.run("INSERT OR IGNORE INTO teams VALUES (?, 10)", name)

    def play(self) -> None:
        """Change the data: every team wins 1 to 3 points."""
        self._database.run("UPDATE teams SET points = points + 1 + abs(random() % 3)")

    def points(self, team: str | None) -> int:
        """Return the points of a team in the database; 0 if there is none."""
        rows = self._database.run("SELECT points FROM teams WHERE name = ?", team)
        return rows[0][0] if rows else 0

    def load(
        self, principal: str | int | None, when: Literal["log-in", "page load"]
    ) -> dict[str, Any]:
        """Return the data of the user's team for a session: the keys of `LOADED`."""
        team = _NAMES[zlib.crc32(str(principal).encode()) % len(_NAMES)]
        now = datetime.now(timezone.utc).replace(microsecond=0)
        return dict(zip(LOADED, (team, self.points(team), now, os.getpid(), when), strict=True))

    def refresh(self, session: Session, _environ: WSGIEnvironment) -> Mapping[str, Any]:
        """Return the new contents of a session, as the hook of `VersionMiddleware`."""
        return {**session, **self.load(session.principal, "page load")}
