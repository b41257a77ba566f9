"""Who uses a session now, in a SQL database: a row for each holder, and one for the claim.

The row of the claim is the session's lock as well: whoever acquires or claims locks it first, until
its transaction ends. Without it two of them, of which neither sees what the other has not committed
yet, would both succeed. It is there from the first lease on, with nobody in it, until a sweep.

The claim's row is always locked before rows of holders; a sweep skips what is locked. So no two
transactions wait for each other. All times are the database's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, exists, func, literal, select, tuple_, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from wsgi_sessions.stores.sql_schema import claims, holders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import ColumnElement, Connection, Executable, Table

    from wsgi_sessions.stores.sql_engine import SqlEngine

_NOBODY = ""
_INSERT: Mapping[str, Callable[[Table], Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
    "mysql": mysql.insert,
    "mariadb": mysql.insert,
}


class SqlLeases:
    """`LeaseStore` in a SQL database."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.acquire`."""

        def work(connection: Connection) -> bool:
            connection.execute(self._lock(key))
            return connection.execute(self._hold(key, holder, ttl)).rowcount > 0

        return self._engine.run("acquire", key, work)

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.renew`. One statement for a holder, two for a claim."""

        def work(connection: Connection) -> bool:
            return any(
                connection.execute(
                    update(table)
                    .where(*_of(table, key, holder), table.c.expires_at > self._engine.now)
                    .values(expires_at=self._engine.now + ttl)
                ).rowcount
                for table in (holders, claims)
            )

        return self._engine.single("renew", key, work)

    def release(self, key: str, holder: str) -> None:
        """See `LeaseStore.release`. One statement for a holder, two for a claim."""

        def work(connection: Connection) -> bool:
            return any(
                connection.execute(delete(table).where(*_of(table, key, holder))).rowcount
                for table in (holders, claims)
            )

        self._engine.single("release", key, work)

    def holders(self, key: str) -> int:
        """See `LeaseStore.holders`."""
        held = select(func.count()).select_from(holders)
        live = held.where(holders.c.key == key, holders.c.expires_at > self._engine.now)

        def work(connection: Connection) -> int:
            return int(connection.execute(live).scalar_one())

        return self._engine.single("holders", key, work)

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.claim`."""
        expired = delete(holders).where(holders.c.key == key, self._is_over(holders))
        claimed = (
            update(claims)
            .where(claims.c.key == key, claims.c.holder.in_([_NOBODY, holder]))
            .where(~exists().where(holders.c.key == key))
            .values(holder=holder, expires_at=self._engine.now + ttl)
        )

        def work(connection: Connection) -> bool:
            connection.execute(self._lock(key))
            # They are deleted, not looked over: one that is being renewed is waited for.
            connection.execute(expired)
            return connection.execute(claimed).rowcount > 0

        return self._engine.run("claim", key, work)

    def delete_expired(self, limit: int) -> int:
        """Delete up to `limit` rows of dead holders, and as many of dead or absent claims.

        Returns how many; 0 means that none was left which nobody was at. The locks of sessions are
        among them: whoever needs one makes it anew.
        """
        return sum(self._delete_expired(table, limit) for table in (holders, claims))

    def _delete_expired(self, table: Table, limit: int) -> int:
        row = table.primary_key.columns
        found = select(*row).where(self._is_over(table)).order_by(table.c.expires_at).limit(limit)
        found = found.with_for_update(skip_locked=True)

        def work(connection: Connection) -> int:
            rows = [tuple(row) for row in connection.execute(found)]
            if rows:
                connection.execute(delete(table).where(tuple_(*row).in_(rows)))
            return len(rows)

        return self._engine.run("sweep", None, work)

    def _lock(self, key: str) -> Executable:
        """Keep others from acquiring and claiming until the transaction ends. A claim that is over
        is taken back on this occasion, so that it cannot be renewed any more."""
        row = {"key": key, "holder": _NOBODY, "expires_at": 0.0}
        left = case((self._is_over(claims), _NOBODY), else_=claims.c.holder)
        return _or_update(self._insert(claims).values(row), claims, {"holder": left})

    def _hold(self, key: str, holder: str, ttl: float) -> Executable:
        """Become a holder unless the session, which is locked, is claimed."""
        until = self._engine.now + ttl
        unclaimed = select(claims.c.key, literal(holder), until).where(
            claims.c.key == key, claims.c.holder == _NOBODY
        )
        inserted = self._insert(holders).from_select(["key", "holder", "expires_at"], unclaimed)
        return _or_update(inserted, holders, {"expires_at": until})

    def _insert(self, table: Table) -> Any:
        return _INSERT[self._engine.dialect](table)

    def _is_over(self, table: Table) -> ColumnElement[bool]:
        return table.c.expires_at <= self._engine.now


def _of(table: Table, key: str, holder: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.key == key, table.c.holder == holder


def _or_update(inserted: Any, table: Table, changes: dict[str, ColumnElement[Any]]) -> Executable:
    """An INSERT that makes these changes instead where there is a row with this primary key."""
    if hasattr(inserted, "on_duplicate_key_update"):
        changed = inserted.on_duplicate_key_update(changes)
    else:
        of = list(table.primary_key.columns)
        changed = inserted.on_conflict_do_update(index_elements=of, set_=changes)
    counted: Executable = changed.execution_options(preserve_rowcount=True)
    return counted
