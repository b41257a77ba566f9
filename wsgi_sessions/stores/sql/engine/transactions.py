"""Short transactions on a SQL database: deadline, bounded retries, differences between dialects."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import Float, bindparam, case, func, literal_column, text

from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.errors import (
    ConfigurationError,
    SessionError,
    StoreUnavailable,
    VersionConflict,
    WriteInDoubt,
)
from wsgi_sessions.forks import here, this_process
from wsgi_sessions.stores.breaker import NOT_ASKED, Breaker, CircuitOpen
from wsgi_sessions.stores.sql.engine.borrowing import connected, take_write_lock
from wsgi_sessions.stores.sql.engine.causes import SqlReaction
from wsgi_sessions.stores.sql.engine.faults import SqlFault, fault_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Connection, Engine

    Work = Callable[[Connection], object]

T = TypeVar("T")

# The start of the statement: an index can be searched by that, but not by a clock that runs on.
_NOW = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    # UNIX_TIMESTAMP(NOW(6)) follows the session's time zone: one hour comes twice in autumn.
    "mysql": "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)",
    "mariadb": "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)",
}
_LIMITS = text(
    "SELECT set_config('statement_timeout', :statement, true), "
    "set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_IDLE_FACTOR = 10
_LONGEST_WAIT = 0.02
_MAKING_SECONDS = 10.0  # the tables; each waits for the disk
SAME_CLOCK = 1.0
"""Seconds by which two clocks may differ and still count as the same."""


class SqlEngine:
    """Runs work in transactions on one database: SQLite, PostgreSQL or MySQL.

    `timeout` is the deadline of an operation, its retries included, in seconds. `label` is the
    database's name in errors: never its URL, which may hold a password. `prepare` is called with a
    connection before the first operation in each process, and again until it has succeeded; its
    result is done in a transaction. A borrowed `engine` is never closed.

    A transaction that the database undid (a deadlock, a serialization failure, "database is
    locked") is tried again until the deadline; one without an answer is tried once more on a fresh
    connection. After several operations without an answer the next ones fail at once (see
    `Breaker`). So work may run several times, and may have been applied by a run that seemed to
    fail: it has to compare before it sets, or be harmless if done twice.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        label: str,
        timeout: float,
        prepare: Callable[[Connection], Work | None] | None = None,
        ownership: Literal["own", "borrowed"] = "own",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if engine.dialect.name not in _NOW:
            raise ConfigurationError(
                f"sessions cannot be kept in {engine.dialect.name}: use PostgreSQL, SQLite, "
                "MariaDB or MySQL"
            )
        self.dialect = engine.dialect.name
        self.label = label
        self.timeout = timeout
        self.engine = engine
        self._ownership = ownership
        self._prepare = prepare
        self._clock = clock
        self._single = engine
        # Our own connections have it from the start (see `database.connect`).
        of_drivers = self.dialect in ("mysql", "mariadb") or engine.dialect.driver == "psycopg"
        self._begins = of_drivers and ownership == "own"
        if self.dialect != "sqlite" and not self._begins:
            # One statement is atomic on its own; BEGIN and COMMIT would be two more round trips.
            self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._made_in = this_process()
        self._breaker = self._new_breaker()
        self._prepared_in = 0
        self._inherited: list[object] = []
        self._lock = threading.Lock()

    @property
    def now(self) -> ColumnElement[float]:
        """Return the database's clock at the start of the statement, in seconds since the epoch."""
        return literal_column(_NOW[self.dialect], Float)

    @property
    def expiry_now(self) -> ColumnElement[float]:
        """Return the clock by which sessions expire.

        That is the database server's; on SQLite, which has none, `wall_clock`, so that a test that
        moves the time moves it here too.
        """
        if self.dialect == "sqlite":
            return bindparam(None, callable_=wall_clock, type_=Float)
        return self.now

    def expiry(self, moment: ColumnElement[float]) -> ColumnElement[float]:
        """Return a moment of this host's clock by the clock that sessions expire by.

        Clocks that differ by less than a second count as the same, so that the expiry that is read
        is the one that was written.
        """
        if self.dialect == "sqlite":
            return moment
        ahead: Any = self.now - bindparam(None, callable_=wall_clock, type_=Float)
        return case((func.abs(ahead) < SAME_CLOCK, moment), else_=moment + ahead)

    def run(self, operation: str, key: str | None, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction, commit it, and return its result.

        On SQLite the write lock is taken first, so that what work reads stays true until it writes.
        An exception of work rolls the transaction back and is raised; a `VersionConflict` is marked
        if an earlier run of the work may have been applied.

        Raises StoreUnavailable, at the latest a moment after the deadline.
        """
        return self._attempts(operation, key, lambda until: self._transaction(work, until))

    def single(self, operation: str, key: str | None, work: Callable[[Connection], T]) -> T:
        """Like `run`, for work whose statements need not be one transaction.

        Each commits on its own, in one round trip.
        """
        return self._attempts(operation, key, lambda until: self._statement(work, until))

    def once(self, operation: str, key: str | None, work: Callable[[Connection], T]) -> T:
        """Like `single`, but without repeating work that may have been applied: `WriteInDoubt`."""
        return self._attempts(
            operation, key, lambda until: self._statement(work, until), WriteInDoubt
        )

    def close(self) -> None:
        """Close idle connections, unless the application's. The engine may be used again."""
        if self._ownership == "own" and self._made_in == here[0]:
            self.engine.dispose()

    # -- one attempt, and another --------------------------------------------------------------

    def _attempts(
        self,
        operation: str,
        key: str | None,
        attempt: Callable[[float], T],
        unanswered: type[StoreUnavailable] = StoreUnavailable,
    ) -> T:
        """Try until an answer; without one, raise `unanswered` (`WriteInDoubt`: one attempt)."""
        self._after_fork()
        breaker = self._breaker
        if breaker.closed:
            return self._answered(operation, key, attempt, unanswered)
        try:
            with breaker.probe():
                return self._answered(operation, key, attempt, unanswered)
        except CircuitOpen as error:
            fault = SqlFault(NOT_ASKED, SqlReaction.REPORT, str(error))
        raise fault.error(self.label, operation, key, 0)

    def _answered(
        self,
        operation: str,
        key: str | None,
        attempt: Callable[[float], T],
        kind: type[StoreUnavailable],
    ) -> T:
        """Return the result of the attempts, noted at the breaker."""
        deadline = self._clock() + self.timeout
        tried, unanswered = 0, 0
        while True:
            tried += 1
            try:
                self._prepare_once(deadline)
                result = attempt(deadline)
            except SessionError as error:  # the database's answer, in the terms of work
                self._breaker.answered()
                if isinstance(error, VersionConflict):
                    error.is_after_retry = error.is_after_retry or unanswered > 0
                raise
            except Exception as error:  # noqa: BLE001 - a driver may raise anything
                fault = fault_of(error)
            else:
                self._breaker.answered()
                return result
            # Outside of the handler: no exception that leaves here is chained to SQLAlchemy's,
            # whose text holds statements and their parameters.
            unanswered += fault.reaction is SqlReaction.RECONNECT
            again = self._again(fault, tried, unanswered, deadline)
            if not again or (unanswered and kind is WriteInDoubt):
                break
        raised = self._given_up(fault, operation, key, tried, kind)
        raised.in_doubt = unanswered > 0
        if isinstance(raised, WriteInDoubt):
            raised.may_try_another = again
        raise raised

    def _given_up(
        self,
        fault: SqlFault,
        operation: str,
        key: str | None,
        tried: int,
        kind: type[StoreUnavailable],
    ) -> StoreUnavailable:
        """Return the last attempt's error, noted at the breaker; a `kind` if it got no answer."""
        if fault.reaction is SqlReaction.RECONNECT:
            self._breaker.unanswered(fault.explained)
            return fault.error(self.label, operation, key, tried, kind)
        if fault.reaction is not SqlReaction.GIVE_UP:
            self._breaker.answered()
        return fault.error(self.label, operation, key, tried)

    def _again(self, fault: SqlFault, tried: int, unanswered: int, deadline: float) -> bool:
        left = deadline - self._clock()
        if fault.reaction is SqlReaction.RECONNECT:
            # After half of the deadline, there is no retry: connecting takes time too.
            return unanswered == 1 and left > self.timeout / 2
        if fault.reaction is not SqlReaction.AGAIN or left <= 0:
            return False
        # Jitter keeps waiters from asking in step.
        pause = random.uniform(0.0005, min(_LONGEST_WAIT, 0.002 * tried))  # noqa: S311 - no secret
        time.sleep(min(left, pause))
        return True

    def _transaction(self, work: Callable[[Connection], T], deadline: float) -> T:
        with connected(self.engine, deadline) as connection:
            if self.dialect == "sqlite":
                take_write_lock(connection)
            elif self._begins:
                connection.exec_driver_sql("BEGIN")
            if self.dialect == "postgresql":
                self._limit(connection, deadline)
            result = work(connection)
            connection.commit()
            return result

    def _limit(self, connection: Connection, deadline: float) -> None:
        """Let the server end this transaction's statements at the deadline.

        And the transaction itself if this process is stopped in it: it must not keep its locks. The
        limits are the transaction's alone: a pooler gives the connection to others after it.
        """
        left = max(1, round((deadline - self._clock()) * 1000))
        connection.execute(_LIMITS, {"statement": f"{left}", "idle": f"{left * _IDLE_FACTOR}"})

    def _statement(self, work: Callable[[Connection], T], deadline: float) -> T:
        with connected(self._single, deadline) as connection:
            result = work(connection)
            connection.commit()
            return result

    # -- processes -----------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """Leave the parent's connections to the parent.

        They are kept, since their destructors would say goodbye to the server in the parent's name.

        Those to SQLite are closed: while one is open, SQLite takes its locks for locks of this
        process, which did not inherit them, so that other processes would remove the write-ahead
        log under the connections that are opened here. Closing looks for other users by locks of
        this process' own. A connection that another thread of the parent was using at the fork
        stays open.
        """
        if self._made_in == here[0]:
            return
        with self._lock:
            if self._made_in != here[0]:
                if self.dialect == "sqlite":
                    self.engine.dispose()
                else:
                    self._inherited.append(self.engine.pool)
                    self.engine.dispose(close=False)
                self._breaker = self._new_breaker()
                self._made_in = this_process()

    def _new_breaker(self) -> Breaker:
        return Breaker(self.label, clock=self._clock)

    def _prepare_once(self, deadline: float) -> None:
        if self._prepare is not None and self._prepared_in != self._made_in:
            work = self._statement(self._prepare, deadline)
            if work is not None:  # the database has just answered, and this is done only once
                self._transaction(work, max(deadline, self._clock() + _MAKING_SECONDS))
            self._prepared_in = self._made_in
