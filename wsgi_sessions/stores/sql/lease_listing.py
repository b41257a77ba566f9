"""Looking at all leases of a SQL store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import select, tuple_

from wsgi_sessions.stores.base import Lease
from wsgi_sessions.stores.sql.schema import claims, holders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table

    from wsgi_sessions.stores.sql.engine import SqlEngine

_PAGE = 1000
_ROLES: tuple[tuple[Table, Literal["holder", "claim"]], ...] = (
    (holders, "holder"),
    (claims, "claim"),
)


class SqlLeaseListing:
    """`LeaseListing` in pages by key."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def leases(self) -> Iterator[Lease]:
        """See `LeaseListing.leases`."""
        for table, role in _ROLES:
            last = ("", "")
            while page := self._after(table, last):
                yield from (Lease(key, role, holder, left) for key, holder, left in page)
                last = page[-1][:2]

    def _after(self, table: Table, last: tuple[str, str]) -> list[tuple[str, str, float]]:
        place = tuple_(table.c.key, table.c.holder)
        statement = (
            select(table.c.key, table.c.holder, table.c.expires_at - self._engine.now)
            # In the table of claims, nobody has claimed a row without a holder.
            .where(place > last, table.c.expires_at > self._engine.now, table.c.holder != "")
            .order_by(table.c.key, table.c.holder)
            .limit(_PAGE)
        )
        rows = self._engine.single("leases", None, lambda c: c.execute(statement).all())
        return [(key, holder, left) for key, holder, left in rows]
