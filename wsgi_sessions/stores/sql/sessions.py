"""Session records in a SQL table: store, iteration, deletion of expired ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Float,
    bindparam,
    delete,
    func,
    literal,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.types import NullType

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.contract import Record
from wsgi_sessions.errors import SessionExists, SessionGone, VersionConflict
from wsgi_sessions.mutex import lock_lost
from wsgi_sessions.stores.sql.engine.inserts import insert_if_absent
from wsgi_sessions.stores.sql.engine.transactions import SAME_CLOCK
from wsgi_sessions.stores.sql.locks import is_held
from wsgi_sessions.stores.sql.schema import require_schema, sessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Row

    from wsgi_sessions.mutex import Fence
    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
    from wsgi_sessions.stores.sql.quarantine import SqlQuarantine
    from wsgi_sessions.upkeep import OnDeleted

_CHUNK = 1000
_C = sessions.c


class SqlStore:
    """`SessionStore`: a row for each session, which expires by the database's clock.

    Each operation is one statement, and one more if it found no row. An expiry is a moment of the
    caller's clock: it is stored as one of the database's, and read as the caller's again, so that
    hosts whose clocks differ agree on when a session expires.

    A write is repeated if its answer was lost. A `save` that had succeeded then finds its own
    record, as a `VersionConflict` or, if that was destroyed in between, `SessionGone`. A `create`
    is never repeated, unless the database has undone it.
    """

    def __init__(self, engine: SqlEngine, quarantine: SqlQuarantine) -> None:
        self._engine = engine
        self._quarantine = quarantine
        key, live = _C.key == bindparam("k"), _C.expires_at > engine.expiry_now
        expiry = engine.expiry(bindparam("expiry", type_=Float))
        # Built once: SQLAlchemy takes longer to build a statement than SQLite to execute it. The
        # payload as the driver gives it: a row that was edited by hand must not raise inside
        # SQLAlchemy.
        columns = (_C.version, type_coerce(_C.payload, NullType), _C.expires_at, engine.expiry_now)
        self._load = select(*columns).where(key, live)
        self._save = (
            update(sessions)
            .where(key, _C.version == bindparam("expected"), live)
            .values(
                version=bindparam("expected") + 1,
                payload=bindparam("data"),
                expires_at=expiry,
            )
        )
        self._touch = (
            update(sessions).where(key, live, _C.expires_at < expiry).values(expires_at=expiry)
        )
        self._delete = delete(sessions).where(key)
        self._take_over = (
            update(sessions)
            .where(key, _C.expires_at <= engine.expiry_now)
            .values(version=1, payload=bindparam("data"), expires_at=expiry)
        )

    def create(self, key: str, payload: bytes, expires_at: float) -> None:
        expiry = self._engine.expiry(literal(expires_at, Float))
        row = {"key": key, "version": 1, "payload": payload, "expires_at": expiry}
        insert = insert_if_absent(self._engine.dialect, sessions, row)

        def work(connection: Connection) -> bool:
            if connection.execute(insert).rowcount > 0:
                return True
            expired = {"k": key, "data": payload, "expiry": expires_at}
            return connection.execute(self._take_over, expired).rowcount > 0

        if not self._engine.once("create", key, work):
            raise SessionExists("a record is there already; create it under a fresh id")

    def load(self, key: str) -> Record | None:
        row = self._engine.single(
            "load", key, lambda connection: connection.execute(self._load, {"k": key}).first()
        )
        return self._record(key, row)

    def save(
        self,
        key: str,
        payload: bytes,
        expires_at: float,
        *,
        expected_version: int,
        fence: Fence | None = None,
    ) -> int:
        values = {"k": key, "expected": expected_version, "data": payload, "expiry": expires_at}
        statement = self._save
        if fence is not None:
            statement = statement.where(is_held(self._engine, fence))

        def work(connection: Connection) -> int:
            if connection.execute(statement, values).rowcount > 0:
                return expected_version + 1
            current = self._record(key, connection.execute(self._load, {"k": key}).first())
            if current is None:
                raise SessionGone("the record was destroyed or has expired")
            if fence is not None and current.version == expected_version:
                raise lock_lost(key)
            raise VersionConflict(current)

        return self._engine.single("save", key, work)

    def touch(self, key: str, expires_at: float) -> None:
        values = {"k": key, "expiry": expires_at}
        self._engine.single("touch", key, lambda c: c.execute(self._touch, values))

    def delete(self, key: str) -> None:
        self._engine.single("delete", key, lambda c: c.execute(self._delete, {"k": key}))

    def ping(self) -> None:
        self._engine.single("ping", None, require_schema)

    def close(self) -> None:
        self._engine.close()

    def _record(self, key: str, row: Row[Any] | None) -> Record | None:
        if row is None:
            return None
        version, payload, expires_at, now = tuple(row)
        if isinstance(payload, (bytes, memoryview, bytearray)) and _is_finite(expires_at):
            ahead = float(now) - wall_clock()
            return Record(
                version,
                bytes(payload),
                expires_at if abs(ahead) < SAME_CLOCK else expires_at - ahead,
            )
        self._quarantine.found(key, version, "a column holds a value of another type")
        return None


class SqlIteration:
    """`SessionIteration` in chunks by primary key: no long transaction, no list of all keys."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine
        self._live = _C.expires_at > engine.expiry_now

    def keys(self) -> Iterator[str]:
        last = ""
        while chunk := self._after(last):
            yield from chunk
            last = chunk[-1]

    def count(self) -> int:
        statement = select(func.count()).select_from(sessions).where(self._live)
        return self._engine.single("count", None, lambda c: c.execute(statement).scalar_one())

    def keys_from(self, beginning: str, limit: int) -> list[str]:
        """See `KeySearch.keys_from`. By the index of the keys."""
        after = select(_C.key).where(_C.key >= beginning, _C.key < beginning + "g")
        return self._engine.single(
            "search", None, lambda c: list(c.execute(after.limit(limit)).scalars().all())
        )

    def _after(self, last: str) -> list[str]:
        statement = select(_C.key).where(_C.key > last, self._live).order_by(_C.key).limit(_CHUNK)
        return self._engine.single(
            "iterate", None, lambda c: list(c.execute(statement).scalars().all())
        )


class SqlExpiry:
    """`ExpiredDeletion` through the index on expiry, a chunk in one statement."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def delete_expired(self, limit: int, told: OnDeleted | None = None) -> int:
        if told is None:
            return delete_chunk(self._engine, "purge", sessions, limit, self._engine.expiry_now)
        deleted = self._taken_out(limit)
        for key, record in deleted:
            told(key, record)
        return len(deleted)

    def _taken_out(self, limit: int) -> list[tuple[str, Record]]:
        """Delete up to `limit` expired rows, and return them as records."""
        expired = _C.expires_at <= self._engine.expiry_now
        columns = (_C.key, _C.version, _C.payload, _C.expires_at)
        chunk = select(*columns).where(expired).order_by(_C.expires_at).limit(limit)
        found = chunk.with_for_update(skip_locked=True)  # nothing extends them until the end

        def work(connection: Connection) -> list[tuple[str, Record]]:
            rows = connection.execute(found).all()
            if rows:
                connection.execute(delete(sessions).where(_C.key.in_([row[0] for row in rows])))
            return [(key, Record(v, bytes(payload), at)) for key, v, payload, at in rows]

        return self._engine.run("purge", None, work)

    def remains(self, key: str) -> Record | None:
        expired = _C.key == key, _C.expires_at <= self._engine.expiry_now
        found = select(_C.version, _C.payload, _C.expires_at).where(*expired)
        row = self._engine.single("load", key, lambda c: c.execute(found).first())
        return None if row is None else Record(row[0], bytes(row[1]), row[2])

    def count_expired(self) -> int:
        expired = _C.expires_at <= self._engine.expiry_now
        statement = select(func.count()).select_from(sessions).where(expired)
        return self._engine.single("count", None, lambda c: c.execute(statement).scalar_one())


def delete_chunk(
    engine: SqlEngine, operation: str, table: Any, limit: int, now: ColumnElement[float]
) -> int:
    """Delete up to `limit` rows whose `expires_at` is past by the clock `now`; return how many.

    The expiry of each row is checked again at its deletion: it may have been extended since it was
    found. (The chunk is a table of its own because MySQL cannot delete from a table that it selects
    from.)
    """
    expired = table.c.expires_at <= now
    keys = list(table.primary_key.columns)
    found = select(*keys).where(expired).order_by(table.c.expires_at).limit(literal(limit))
    found = found.with_for_update(skip_locked=True)  # another process is using the row
    chunk = found.subquery("chunk")
    statement = delete(table).where(expired, _in(keys, select(*chunk.c)))
    return int(engine.single(operation, None, lambda c: c.execute(statement)).rowcount)


def _in(keys: list[Any], chunk: Any) -> Any:
    return keys[0].in_(chunk) if len(keys) == 1 else tuple_(*keys).in_(chunk)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
