"""INSERT where the row may exist already, in each dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects import mysql, postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, Table

_INSERT: Mapping[str, Callable[[Table], Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
    "mysql": mysql.insert,
    "mariadb": mysql.insert,
}


def insert_into(dialect: str, table: Table) -> Any:
    """Return the dialect's own INSERT, for `or_update`."""
    return _INSERT[dialect](table)


def insert_if_absent(
    dialect: str,
    table: Table,
    values: Mapping[str, Any],
    only_if: ColumnElement[bool] | None = None,
) -> Executable:
    """Return an INSERT that does nothing if a row has this primary key; see its `rowcount`.

    Nor does it with `only_if` unmet; the values are then SQL expressions.
    """
    inserted = insert_into(dialect, table)
    if only_if is None:
        inserted = inserted.values(**values)
    else:
        inserted = inserted.from_select(list(values), select(*values.values()).where(only_if))
    if hasattr(inserted, "on_duplicate_key_update"):
        return counted(inserted.prefix_with("IGNORE"))
    return counted(inserted.on_conflict_do_nothing())


def upsert(
    dialect: str, table: Table, values: Mapping[str, Any], replace: Sequence[str]
) -> Executable:
    """Return an INSERT that gives an existing row's columns `replace` the new values.

    `rowcount` means nothing.
    """
    inserted = insert_into(dialect, table).values(**values)
    is_mysql = hasattr(inserted, "on_duplicate_key_update")
    new = inserted.inserted if is_mysql else inserted.excluded
    updated: Executable = or_update(inserted, table, {name: new[name] for name in replace})
    return updated


def or_update(inserted: Any, table: Table, changes: Mapping[str, ColumnElement[Any]]) -> Any:
    """Return an INSERT that makes these changes instead if a row has this primary key."""
    if hasattr(inserted, "on_duplicate_key_update"):
        return inserted.on_duplicate_key_update(changes)
    row = list(table.primary_key.columns)
    return inserted.on_conflict_do_update(index_elements=row, set_=changes)


def counted(statement: Any) -> Executable:
    """Return a statement whose `rowcount` is valid."""
    found: Executable = statement.execution_options(preserve_rowcount=True)
    return found
