"""Traces of ended sessions in a SQL database: a row for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from wsgi_sessions.endings import VISITORS_SHARE, pack, unpack
from wsgi_sessions.stores.sql.engine.inserts import upsert
from wsgi_sessions.stores.sql.schema import endings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Connection

    from wsgi_sessions.endings import EndTrace
    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

_C = endings.c


class SqlEndings:
    """`EndTraces` in a SQL database."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:  # noqa: ARG002  # see `trim`
        """See `EndTraces.keep`. One transaction, in the order of keys, so that none deadlocks."""
        columns = ("user", "at", "trace")
        rows = [
            {"key": trace.key, "user": trace.user or "", "at": trace.at, "trace": pack(trace)}
            for trace in sorted(traces, key=lambda trace: trace.key)
        ]
        statements = [upsert(self._engine.dialect, endings, row, columns) for row in rows]

        def work(connection: Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        self._engine.run("keep a trace", None, work)

    def trace_of(self, key: str) -> EndTrace | None:
        """See `EndTraces.trace_of`."""
        return next(iter(self._found(select(_C.trace).where(_C.key == key))), None)

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.matching`. By the index of the keys."""
        after = select(_C.trace).where(_C.key >= beginning, _C.key < beginning + "g")
        return self._found(after.limit(limit))

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.of_user`."""
        theirs = select(_C.trace).where(_C.user == user).order_by(_C.at.desc())
        return self._found(theirs.limit(limit))

    def trim(self, before: float, most: int) -> int:
        """See `EndTraces.trim`."""
        return self._gone(_C.at < before) + sum(
            self._beyond(limit, group)
            for limit, group in ((most, _C.user != ""), (most // VISITORS_SHARE, _C.user == ""))
        )

    def _beyond(self, limit: int, group: Any) -> int:
        """Remove all but the latest of a group. Of the same time, more may go."""
        newest_surplus = select(_C.at).where(group).order_by(_C.at.desc()).offset(limit).limit(1)
        time = self._engine.single(
            "trim traces", None, lambda c: c.execute(newest_surplus).scalar()
        )
        return 0 if time is None else self._gone(group, _C.at <= time)

    def _gone(self, *conditions: Any) -> int:
        statement = delete(endings).where(*conditions)
        done = self._engine.single("trim traces", None, lambda c: c.execute(statement))
        return int(done.rowcount)

    def _found(self, statement: Any) -> list[EndTrace]:
        def work(connection: Connection) -> list[bytes]:
            return [bytes(each) for each in connection.execute(statement).scalars()]

        found = map(unpack, self._engine.single("trace", None, work))
        return [trace for trace in found if trace is not None]
