"""The database of the demonstration, from which sessions load data: one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

_LOCK_SECONDS = 10.0


class Database:
    """A file in an existing folder. Several processes and threads may use it at once."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "database")

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction; return its rows."""
        with closing(sqlite3.connect(self._path, _LOCK_SECONDS)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")  # it is removed with the demonstration
            return connection.execute(statement, values).fetchall()
