"""Damaged records, set aside in a table of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Row, delete, func, select, type_coerce
from sqlalchemy.types import NullType

from wsgi_sessions import texts
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.sql.engine.inserts import upsert
from wsgi_sessions.stores.sql.schema import quarantine, sessions

if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
    from wsgi_sessions.upkeep import OnSetAside

_log = texts.log(__name__)

KEPT_SECONDS = 7 * 86400.0
KEPT_RECORDS = 100
_LONGEST_REASON = 200


class SqlQuarantine:
    """`Quarantine`: a damaged row is moved, and kept for 7 days; the newest 100 are kept."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine
        self._told: OnSetAside | None = None

    def report_to(self, told: OnSetAside) -> None:
        self._told = told

    def set_aside(self, key: str, version: int, reason: str) -> None:
        self._take(key, version, reason)

    def found(self, key: str, version: int, reason: str) -> None:
        """Like `set_aside`, for a record that the store itself found damaged."""
        if self._take(key, version, reason) and self._told is not None:
            self._told(key, reason)

    def _take(self, key: str, version: int, reason: str) -> bool:
        moved = self._engine.run("quarantine", key, lambda c: self._move(c, key, version, reason))
        if moved:
            _log.warning(
                "session %s: %s; it was set aside and counts as absent", short_key(key), reason
            )
        return moved

    def quarantined(self) -> int:
        young = quarantine.c.set_aside_at > self._engine.now - KEPT_SECONDS
        statement = select(func.count()).select_from(quarantine).where(young)
        return self._engine.single("quarantine", None, lambda c: c.execute(statement).scalar_one())

    def remove_old(self) -> int:
        """Delete old records of the quarantine; return how many."""
        old = quarantine.c.set_aside_at <= self._engine.now - KEPT_SECONDS
        statement = delete(quarantine).where(old)
        return self._engine.single("quarantine", None, lambda c: c.execute(statement).rowcount)

    def _move(self, connection: Connection, key: str, version: int, reason: str) -> bool:
        this = (sessions.c.key == key, sessions.c.version == version)
        payload = type_coerce(sessions.c.payload, NullType)
        row = connection.execute(select(payload).where(*this).with_for_update()).first()
        if row is None:
            return False
        values = {
            "key": key,
            "version": version,
            "payload": _as_bytes(row),
            "reason": reason[:_LONGEST_REASON],
            "set_aside_at": self._engine.now,
        }
        replaced = ("version", "payload", "reason", "set_aside_at")
        connection.execute(upsert(self._engine.dialect, quarantine, values, replaced))
        connection.execute(delete(sessions).where(*this))
        self._trim(connection)
        return True

    def _trim(self, connection: Connection) -> None:
        newest_first = select(quarantine.c.key).order_by(quarantine.c.set_aside_at.desc())
        # MySQL has no OFFSET without a LIMIT.
        surplus = connection.execute(newest_first.offset(KEPT_RECORDS).limit(1000)).scalars().all()
        if surplus:
            connection.execute(delete(quarantine).where(quarantine.c.key.in_(surplus)))


def _as_bytes(row: Row[Any]) -> bytes:
    payload = row[0]
    return payload.encode(errors="replace") if isinstance(payload, str) else bytes(payload or b"")
