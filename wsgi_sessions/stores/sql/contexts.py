"""Last contexts in a SQL database: a row for each principal and name, found by a hash of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from wsgi_sessions import texts
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.stores.context_records import digest, pack, unpack_under
from wsgi_sessions.stores.sql.engine.inserts import insert_if_absent, upsert
from wsgi_sessions.stores.sql.schema import contexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from wsgi_sessions.contract import Context
    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

_PAGE = 500
_log = texts.log(__name__)


class SqlContexts:
    """`ContextStore` in a SQL database. Each operation is one statement, and may be sent twice."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def get(self, principal: str, name: str) -> Context | None:
        """See `ContextStore.get`. A damaged record counts as absent, and is reported."""
        key = digest(principal, name)
        found = select(contexts.c.record).where(contexts.c.id == key)

        def work(connection: Connection) -> bytes | None:
            return connection.execute(found).scalar()

        record = self._engine.single("context", None, work)
        context = None if record is None else _read(key, record)
        return None if context is None else context[2]

    def set(self, principal: str, name: str, context: Context) -> None:
        """See `ContextStore.set`."""
        row = {"id": digest(principal, name), "record": pack(principal, name, context)}
        statement = upsert(self._engine.dialect, contexts, row, ["record"])
        self._engine.single("context", None, lambda connection: connection.execute(statement))

    def add(self, principal: str, name: str, context: Context) -> bool:
        """See `ContextStore.add`. False also if a first attempt did it and its reply was lost."""
        row = {"id": digest(principal, name), "record": pack(principal, name, context)}
        insert = insert_if_absent(self._engine.dialect, contexts, row)

        def work(connection: Connection) -> bool:
            return connection.execute(insert).rowcount > 0

        return self._engine.single("context", None, work)

    def clear(self, principal: str, name: str, expected: Context | None = None) -> None:
        """See `ContextStore.clear`."""
        gone = delete(contexts).where(contexts.c.id == digest(principal, name))
        if expected is not None:
            gone = gone.where(contexts.c.record == pack(principal, name, expected))
        self._engine.single("context", None, lambda connection: connection.execute(gone))

    def items(self) -> Iterator[tuple[str, str, Context]]:
        """See `ContextStore.items`. In pages, so that no transaction stays open in between."""
        last = ""
        while page := self._page(last):
            last = page[-1][0]
            yield from filter(None, (_read(key, record) for key, record in page))

    def _page(self, after: str) -> list[tuple[str, bytes]]:
        rows = select(contexts.c.id, contexts.c.record).where(contexts.c.id > after)
        page = rows.order_by(contexts.c.id).limit(_PAGE)

        def work(connection: Connection) -> list[tuple[str, bytes]]:
            return [(found, record) for found, record in connection.execute(page)]

        return self._engine.single("contexts", None, work)


def _read(key: str, record: bytes) -> tuple[str, str, Context] | None:
    try:
        return unpack_under(key, record)
    except CorruptRecord as error:
        _log.error("a remembered context counts as absent: %s", error.reason)
        return None
