"""The mutex of a session in a SQL table: a row with a random token (see `stores.token_locks`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, update

from wsgi_sessions.stores.sql.schema import locks
from wsgi_sessions.stores.token_locks import LOCK_TTL

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine import SqlEngine

_C = locks.c


class SqlHolds:
    """`TokenHolds`.

    No advisory lock of the database, which would keep a connection for as long as the block takes,
    and is lost with it behind a pooler such as PgBouncer.
    """

    def __init__(self, engine: SqlEngine, ttl: float = LOCK_TTL) -> None:
        self.ttl = ttl
        self._engine = engine

    def take(self, key: str, token: str) -> bool:
        expiry = self._engine.now + self.ttl
        insert = self._engine.insert_if_absent(
            locks, {"key": key, "holder": token, "expires_at": expiry}
        )
        free = or_(_C.holder == token, _C.expires_at <= self._engine.now)
        take_over = update(locks).where(_C.key == key, free)
        take_over = take_over.values(holder=token, expires_at=expiry)

        def work(connection: Connection) -> bool:
            if connection.execute(insert).rowcount > 0:
                return True
            return connection.execute(take_over).rowcount > 0

        return self._engine.single("lock", key, work)

    def free(self, key: str, token: str) -> bool:
        statement = delete(locks).where(_C.key == key, _C.holder == token)
        return self._engine.single("unlock", key, lambda c: c.execute(statement)).rowcount > 0
