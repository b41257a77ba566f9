"""The refresh queue in a SQL database: an index on time finds due sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from wsgi_sessions.stores.sql.engine.inserts import upsert
from wsgi_sessions.stores.sql.schema import refreshes

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine


class SqlRefreshes:
    """`RefreshQueue` in a SQL database. Each operation is one statement, and may be sent twice."""

    def __init__(self, engine: SqlEngine, application: str = "") -> None:
        self._engine = engine
        self._application = application

    def schedule(self, key: str, due_at: float) -> None:
        """See `RefreshQueue.schedule`."""
        row = {"key": key, "due_at": due_at, "application": self._application}
        statement = upsert(self._engine.dialect, refreshes, row, ["due_at", "application"])
        self._engine.single("schedule", key, lambda connection: connection.execute(statement))

    def due(self, now: float, limit: int) -> list[str]:
        """See `RefreshQueue.due`."""
        longest_due = refreshes.c.due_at, refreshes.c.key
        is_ours = refreshes.c.application == self._application
        found = select(refreshes.c.key).where(refreshes.c.due_at <= now, is_ours)
        first = found.order_by(*longest_due).limit(limit)

        def work(connection: Connection) -> list[str]:
            return list(connection.execute(first).scalars())

        return self._engine.single("due", None, work)

    def remove(self, key: str) -> None:
        """See `RefreshQueue.remove`."""
        gone = delete(refreshes).where(refreshes.c.key == key)
        self._engine.single("unschedule", key, lambda connection: connection.execute(gone))

    def of(self, application: str) -> SqlRefreshes:
        """See `RefreshQueue.of`."""
        return SqlRefreshes(self._engine, application)
