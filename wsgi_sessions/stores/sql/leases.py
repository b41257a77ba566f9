"""Leases in a SQL database: a row for each holder, and one for the claim.

The claim's row is also the session's lock: an acquire or a claim first locks it until the end of
its transaction. Otherwise two of them would both succeed, since neither sees the other's
uncommitted change. The row exists from the first lease on, without a claimant, until a sweep.

The claim's row is always locked before rows of holders, and a sweep skips locked rows, so that no
two transactions wait for each other. All times are the database's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, delete, exists, func, select, tuple_, update

from wsgi_sessions.contract import LeaseInfo, Role
from wsgi_sessions.stores.sql.engine.inserts import counted, insert_into, or_update
from wsgi_sessions.stores.sql.schema import claims, holders
from wsgi_sessions.stores.sql.sessions import delete_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Executable, FromClause, Table

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine


_NOBODY = ""
_TABLES = (holders, claims)


class SqlLeases:
    """`LeaseStore` in a SQL database.

    Acquiring is one statement on PostgreSQL and two in a transaction elsewhere; releasing and
    renewing are one for a holder and two for a claim.

    Not promised: that leases survive a crash of PostgreSQL, or a failover: their tables are not
    logged, so that a request waits for no disk. A holder finds out at its next renewal, and
    acquires again.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine
        until = engine.now + bindparam("ttl")
        # Built once: SQLAlchemy takes longer to build a statement than a database to execute it.
        self._lock = _lock(engine)
        self._hold = _hold(engine, until)
        self._drop_dead = delete(holders).where(_is_of(holders), holders.c.expires_at <= engine.now)
        self._claim = (
            update(claims)
            .where(_is_of(claims), claims.c.holder.in_([_NOBODY, bindparam("h")]))
            .where(~exists().where(_is_of(holders)))
            .values(holder=bindparam("h"), expires_at=until)
        )
        mine = [(table, (_is_of(table), table.c.holder == bindparam("h"))) for table in _TABLES]
        self._renew = [
            update(table).where(*row, table.c.expires_at > engine.now).values(expires_at=until)
            for table, row in mine
        ]
        self._release = [delete(table).where(*row) for table, row in mine]
        live = holders.c.expires_at > engine.now
        self._count = select(func.count()).select_from(holders).where(_is_of(holders), live)

    def acquire(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.acquire`."""
        values = {"k": key, "h": holder, "ttl": ttl}

        def work(connection: Connection) -> bool:
            if self._engine.dialect != "postgresql":
                connection.execute(self._lock, values)
            return connection.execute(self._hold, values).rowcount > 0

        if self._engine.dialect == "postgresql":
            return self._engine.single("acquire", key, work)
        return self._engine.run("acquire", key, work)

    def renew(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.renew`."""
        return self._first_that_finds("renew", self._renew, {"k": key, "h": holder, "ttl": ttl})

    def release(self, key: str, holder: str) -> None:
        """See `LeaseStore.release`."""
        self._first_that_finds("release", self._release, {"k": key, "h": holder})

    def holders(self, key: str) -> int:
        """See `LeaseStore.holders`."""

        def work(connection: Connection) -> int:
            return int(connection.execute(self._count, {"k": key}).scalar_one())

        return self._engine.single("holders", key, work)

    def claim(self, key: str, holder: str, ttl: float) -> bool:
        """See `LeaseStore.claim`."""
        values = {"k": key, "h": holder, "ttl": ttl}

        def work(connection: Connection) -> bool:
            connection.execute(self._lock, values)
            # Deleted without looking first: this waits for one that is being renewed now.
            connection.execute(self._drop_dead, values)
            return connection.execute(self._claim, values).rowcount > 0

        return self._engine.run("claim", key, work)

    def delete_expired(self, limit: int) -> int:
        """Delete up to `limit` dead holders, and as many dead claims or rows without a claim.

        Returns the number of rows; fewer than `limit` means that none is left. A later user of the
        session's lock makes it again.
        """
        return sum(
            delete_chunk(self._engine, "leases", table, limit, self._engine.now)
            for table in _TABLES
        )

    def _first_that_finds(
        self, operation: str, statements: list[Any], values: dict[str, object]
    ) -> bool:
        """Execute statements until one affects a row; return whether one did."""

        def work(connection: Connection) -> bool:
            return any(connection.execute(one, values).rowcount > 0 for one in statements)

        return self._engine.single(operation, str(values["k"]), work)


def _is_of(table: Table) -> ColumnElement[bool]:
    return table.c.key == bindparam("k")


def _lock(engine: SqlEngine) -> Any:
    """Keep others from acquiring and claiming until the transaction ends.

    It also takes back a dead claim, so that it can no longer be renewed.
    """
    nobody = insert_into(engine.dialect, claims).values(
        key=bindparam("k"), holder=_NOBODY, expires_at=0
    )
    is_over = claims.c.expires_at <= engine.now
    return or_update(nobody, claims, {"holder": case((is_over, _NOBODY), else_=claims.c.holder)})


def _hold(engine: SqlEngine, until: ColumnElement[float]) -> Executable:
    """Become a holder, unless the session is claimed.

    The claim's row has to be locked; PostgreSQL locks it in the same statement.
    """
    locked: FromClause = claims
    if engine.dialect == "postgresql":
        locked = _lock(engine).returning(claims.c.key, claims.c.holder).cte("locked")
    unclaimed = select(locked.c.key, bindparam("h"), until).where(
        locked.c.key == bindparam("k"), locked.c.holder == _NOBODY
    )
    inserted = insert_into(engine.dialect, holders).from_select(list(holders.c.keys()), unclaimed)
    return counted(or_update(inserted, holders, {"expires_at": until}))


_PAGE = 1000
_ROLES: tuple[tuple[Table, Role], ...] = (
    (holders, "holder"),
    (claims, "claim"),
)


class SqlLeaseListing:
    """`LeaseListing` in pages by key."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def leases(self) -> Iterator[LeaseInfo]:
        """See `LeaseListing.leases`."""
        for table, role in _ROLES:
            last = ("", "")
            while page := self._after(table, last):
                yield from (LeaseInfo(key, role, holder, left) for key, holder, left in page)
                last = page[-1][:2]

    def _after(self, table: Table, last: tuple[str, str]) -> list[tuple[str, str, float]]:
        place = tuple_(table.c.key, table.c.holder)
        statement = (
            select(table.c.key, table.c.holder, table.c.expires_at - self._engine.now)
            # In the table of claims, a row without a holder is not a claim.
            .where(place > last, table.c.expires_at > self._engine.now, table.c.holder != "")
            .order_by(table.c.key, table.c.holder)
            .limit(_PAGE)
        )
        rows = self._engine.single("leases", None, lambda c: c.execute(statement).all())
        return [(key, holder, left) for key, holder, left in rows]
