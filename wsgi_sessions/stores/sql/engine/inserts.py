"""INSERT where a row may be there already, as each dialect has it."""

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
    """The dialect's own INSERT, for `or_update`."""
    return _INSERT[dialect](table)


def insert_if_absent(
    dialect: str,
    table: Table,
    values: Mapping[str, Any],
    only_if: ColumnElement[bool] | None = None,
) -> Executable:
    """INSERT that does nothing if there is a row with this primary key. `rowcount` tells.

    Nor if `only_if` is not met; the values are SQL expressions then.
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
    """INSERT; if there is a row with this primary key, its columns `replace` get the new values.
    `rowcount` tells nothing."""
    inserted = insert_into(dialect, table).values(**values)
    is_mysql = hasattr(inserted, "on_duplicate_key_update")
    new = inserted.inserted if is_mysql else inserted.excluded
    updated: Executable = or_update(inserted, table, {name: new[name] for name in replace})
    return updated


def or_update(inserted: Any, table: Table, changes: Mapping[str, ColumnElement[Any]]) -> Any:
    """An INSERT that makes these changes instead where there is a row with this primary key."""
    if hasattr(inserted, "on_duplicate_key_update"):
        return inserted.on_duplicate_key_update(changes)
    row = list(table.primary_key.columns)
    return inserted.on_conflict_do_update(index_elements=row, set_=changes)


def counted(statement: Any) -> Executable:
    """A statement whose `rowcount` may be asked for."""
    found: Executable = statement.execution_options(preserve_rowcount=True)
    return found
