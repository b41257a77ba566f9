"""The mutex of a session in a SQL table: a row with a random token (see `stores.token_locks`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, literal, or_, select, update

from wsgi_sessions.stores.sql.engine.inserts import insert_if_absent
from wsgi_sessions.stores.sql.schema import locks
from wsgi_sessions.stores.token_locks import LOCK_TTL, Freeing, LockAttempt

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from wsgi_sessions.mutex import Fence
    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

_C = locks.c


def is_held(engine: SqlEngine, fence: Fence) -> ColumnElement[bool]:
    """Return whether the lock is held, and will be until the statement is done."""
    mine = (_C.key == fence.key, _C.holder == fence.number, _C.expires_at > engine.now)
    return exists(select(_C.key).where(*mine).with_for_update(read=True))


class SqlHolds:
    """`TokenHolds` in a SQL table.

    Not by advisory locks of the database: they occupy a connection for the time of the block, and
    are lost with it behind a pooler such as PgBouncer.
    """

    def __init__(self, engine: SqlEngine, ttl: float = LOCK_TTL) -> None:
        self.ttl = ttl
        self.patience = engine.timeout
        self._engine = engine

    def clock(self, key: str) -> float:
        return self._engine.single("lock", key, self._now)

    def take(self, key: str, token: str, latest: float) -> LockAttempt:
        now = self._engine.now
        expiry = now + self.ttl
        insert = insert_if_absent(
            self._engine.dialect,
            locks,
            {"key": literal(key), "holder": literal(token), "expires_at": expiry},
            now <= latest,
        )
        free = or_(_C.holder == token, (_C.expires_at <= now) & (now <= latest))
        take_over = update(locks).where(_C.key == key, free)
        take_over = take_over.values(holder=token, expires_at=expiry)

        def work(connection: Connection) -> LockAttempt:
            if connection.execute(insert).rowcount > 0:
                return LockAttempt("taken")
            if connection.execute(take_over).rowcount > 0:
                return LockAttempt("taken")
            there = self._now(connection)
            return LockAttempt("held" if there <= latest else "late", there)

        return self._engine.single("lock", key, work)

    def free(self, key: str, token: str) -> Freeing:
        statement = delete(locks).where(_C.key == key, _C.holder == token)
        tried = 0

        def work(connection: Connection) -> Freeing:
            nonlocal tried
            tried += 1
            if connection.execute(statement).rowcount > 0:
                return "freed"
            return "lost" if tried == 1 else "unknown"

        return self._engine.single("unlock", key, work)

    def _now(self, connection: Connection) -> float:
        return float(connection.execute(select(self._engine.now)).scalar_one())
