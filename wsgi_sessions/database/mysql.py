"""MySQL and MariaDB: connections with limits, in an isolation level that the binary log allows."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Engine

_IDLE_FACTOR = 10
# A server treats the statements that it does not know as comments.
_LIMITS = (
    "SET SESSION innodb_lock_wait_timeout = {whole}"
    " /*M!100101 , max_statement_time = {seconds} */"
    " /*M!100300 , idle_transaction_timeout = {idle} */"
    " /*!50708 , max_execution_time = {milliseconds} */"
)
# A server may have no binary log.
_LOOK = "SHOW VARIABLES WHERE Variable_name IN ('binlog_format', 'max_allowed_packet')"
_ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"


def limit_waiting(engine: Engine, connecting: float, answering: float) -> None:
    """Let an engine's connections wait for a server no longer than that, in seconds.

    The server ends statements at `answering`, and transactions of a stopped process; the client
    hangs up on a server that does not answer. PyMySQL's connections also keep a `deadline` for each
    operation (see `database.pymysql`); mysqlclient's wait whole seconds; for other drivers, the URL
    sets their time-outs. Limits in the URL win.

    Reads are of committed rows (READ COMMITTED), so that no gaps between them are locked, unless
    the server logs statements: it would refuse each change.
    """
    driver = engine.dialect.driver

    def connected(dialect: Any, _record: object, args: Any, kwargs: Any) -> Any:
        if driver == "mysqldb":
            waits: tuple[float, float] = (math.ceil(connecting), math.ceil(answering))
        else:
            waits = (connecting, answering)
        if driver in ("pymysql", "mysqldb"):
            kwargs.setdefault("connect_timeout", waits[0])
            kwargs.setdefault("read_timeout", waits[1])
            kwargs.setdefault("write_timeout", waits[1])
        if driver == "pymysql":
            from wsgi_sessions.database.pymysql import connect

            connection: Any = connect(kwargs)
        else:
            connection = dialect.connect(*args, **kwargs)
        try:
            _set_up(connection, answering)
        except BaseException:
            connection.close()
            raise
        return connection

    event.listen(engine, "do_connect", connected)


def _set_up(connection: Any, answering: float) -> None:
    limits = _LIMITS.format(
        whole=max(1, round(answering)),  # 0 would mean no wait at all
        seconds=max(0.001, answering),
        milliseconds=max(1, round(answering * 1000)),
        idle=math.ceil(answering * _IDLE_FACTOR),
    )
    with closing(connection.cursor()) as cursor:
        cursor.execute(limits)
        cursor.execute(_LOOK)
        settings = dict(cursor.fetchall())
        if settings.get("binlog_format") != "STATEMENT":
            cursor.execute(_ISOLATION)
    if hasattr(connection, "largest"):
        connection.largest = int(settings["max_allowed_packet"])
