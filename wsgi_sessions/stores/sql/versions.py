"""Version stamps beside the sessions of a SQL store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from wsgi_sessions.database.bump import bump_version, read_history, read_versions
from wsgi_sessions.database.dbapi import executor
from wsgi_sessions.database.version_table import OWN_TABLE
from wsgi_sessions.stores.sql.engine.inserts import insert_if_absent
from wsgi_sessions.stores.sql.schema import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from wsgi_sessions.contract import Bump
    from wsgi_sessions.database.dbapi import Execute
    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

T = TypeVar("T")


class SqlStamps:
    """`VersionStamps` in the table of `bump_version`, with the deadline and retries of the store.

    So it sees the bumps that the application makes in transactions of its own. A bump with a lost
    answer may count twice. The history has the latest bump only.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        if not scopes:
            return {}
        return self._read(lambda execute: read_versions(execute, OWN_TABLE, scopes))

    def bump(self, scope: str, *, least: int = 0) -> int:
        row = {"scope": OWN_TABLE.row_of(scope), "version": 0}
        first = insert_if_absent(self._engine.dialect, versions, row)

        def work(connection: Connection) -> int:
            if self._engine.dialect in ("mysql", "mariadb"):  # see `database.bump`
                connection.execute(first)
            return bump_version(connection, scope, least=least)

        return self._engine.run("bump", None, work)

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        if limit < 1:
            return []
        return self._read(lambda execute: read_history(execute, OWN_TABLE, scope))

    def _read(self, read: Callable[[Execute], T]) -> T:
        return self._engine.single("versions", None, lambda c: read(executor(c)))
