"""The sessions of each principal, in a SQL table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Float, delete, literal, select, update

from wsgi_sessions.stores.context_records import digest
from wsgi_sessions.stores.sql.engine.inserts import insert_if_absent
from wsgi_sessions.stores.sql.schema import principals

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

_C = principals.c


class SqlIndex:
    """`PrincipalIndex`: a row for each session of a principal, beginning with the principal's hash.

    A row expires with its session; expired ones are not shown, and `SqlUpkeep` removes them.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def add(self, principal: str, key: str, expires_at: float) -> None:
        expiry = self._engine.expiry(literal(expires_at, Float))
        row = {"principal": digest(principal), "key": key, "expires_at": expiry}
        insert = insert_if_absent(self._engine.dialect, principals, row)
        # Of two writers, the later expiry stands: an entry must not end before its session.
        extend = (
            update(principals)
            .where(*_is(principal, key), _C.expires_at < expiry)
            .values(expires_at=expiry)
        )

        def work(connection: Connection) -> None:
            if connection.execute(insert).rowcount < 1:
                connection.execute(extend)

        self._engine.single("index", key, work)

    def remove(self, principal: str, key: str) -> None:
        statement = delete(principals).where(*_is(principal, key))
        self._engine.single("index", key, lambda c: c.execute(statement))

    def keys_of(self, principal: str) -> list[str]:
        statement = select(_C.key).where(
            _C.principal == digest(principal), _C.expires_at > self._engine.expiry_now
        )
        return self._engine.single(
            "index", None, lambda c: list(c.execute(statement).scalars().all())
        )


def _is(principal: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return _C.principal == digest(principal), _C.key == key
