"""Statements on any SQL connection: DB-API 2.0 (PEP 249) or SQLAlchemy.

A statement is written once, with parameters as ``:name``, and rendered in the driver's own style.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple, get_args

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError

ParamStyle = Literal["qmark", "numeric", "named", "format", "pyformat"]
Parameters = Mapping[str, object]
_PARAMETER = re.compile(r":([a-z][a-z0-9_]*)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@texts.shows("affected")
class ExecuteResult(NamedTuple):
    """The rows that a statement returned, and the number of rows that it affected."""

    rows: list[tuple[Any, ...]]
    affected: int


Execute = Callable[[str, Parameters], ExecuteResult]


def executor(connection: Any, paramstyle: ParamStyle | None = None) -> Execute:
    """Return a function that executes statements on this connection, in its transaction.

    `connection` is a DB-API connection, a SQLAlchemy one, or a SQLAlchemy ORM session. `paramstyle`
    is needed only where the driver's cannot be found out: ``"format"`` for Django's connections.

    Raises ConfigurationError for anything else.
    """
    if hasattr(connection, "get_bind") and callable(getattr(connection, "connection", None)):
        connection = connection.connection()
    if hasattr(connection, "exec_driver_sql"):
        return _of_sqlalchemy(connection)
    if not callable(getattr(connection, "cursor", None)):
        raise ConfigurationError(
            f"{type(connection).__name__} is not a database connection: "
            "pass a DB-API or SQLAlchemy one"
        )
    return _of_dbapi(connection, paramstyle or paramstyle_of(connection))


def paramstyle_of(connection: object) -> ParamStyle:
    """Return the parameter style of a DB-API connection, from its driver's module (PEP 249)."""
    driver = getattr(connection, "driver_connection", None) or connection  # out of a pool's wrapper
    for module in _modules(type(driver)):
        style: Any = getattr(sys.modules.get(module), "paramstyle", None)
        if style in get_args(ParamStyle):
            return style  # type: ignore[no-any-return]  # one of them
    raise ConfigurationError(
        f"the parameter style of {type(driver).__module__} is unknown: pass paramstyle="
    )


def render(
    statement: str, parameters: Parameters, style: ParamStyle
) -> tuple[str, tuple[object, ...] | dict[str, object]]:
    """Return a statement and its parameters in the style of a driver."""
    names: list[str] = []

    def marker(match: re.Match[str]) -> str:
        names.append(match[1])
        return {
            "qmark": "?",
            "format": "%s",
            "numeric": f":{len(names)}",
            "named": match[0],
            "pyformat": f"%({match[1]})s",
        }[style]

    text = _PARAMETER.sub(marker, statement)
    if style in ("named", "pyformat"):
        return text, {name: parameters[name] for name in names}
    return text, tuple(parameters[name] for name in names)


def check_identifier(name: str, *, parts: int = 1) -> None:
    """Refuse anything but a plain SQL name, since names cannot be parameters.

    `parts`: as many names may be joined by dots (``schema.table``). Raises ConfigurationError.
    """
    names = name.split(".")
    if len(names) > parts or not all(map(_IDENTIFIER.fullmatch, names)):
        raise ConfigurationError(
            f"{name[:80]!a} is not a plain SQL name: use ASCII letters, digits and underscores"
        )


def seconds_of(at: object) -> float:
    """Return a time of a database in seconds since the epoch; without a zone it is UTC."""
    moment = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _modules(kind: type) -> Iterator[str]:
    """Return the modules that may be a connection's driver, the nearest first."""
    for base in kind.__mro__:
        name = base.__module__
        while name:
            yield name
            name = name.rpartition(".")[0]


def _of_dbapi(connection: Any, style: ParamStyle) -> Execute:
    def execute(statement: str, parameters: Parameters) -> ExecuteResult:
        with closing(connection.cursor()) as cursor:
            cursor.execute(*render(statement, parameters, style))
            # No description: not a statement that returns rows.
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            return ExecuteResult(rows, cursor.rowcount)

    return execute


def _of_sqlalchemy(connection: Any) -> Execute:
    from sqlalchemy import text  # on use: an optional dependency

    def execute(statement: str, parameters: Parameters) -> ExecuteResult:
        result = connection.execute(text(statement), dict(parameters))
        rows = [tuple(row) for row in result] if result.returns_rows else []
        return ExecuteResult(rows, result.rowcount)

    return execute
