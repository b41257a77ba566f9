"""The table of version stamps: one of our own, or an existing one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsgi_sessions import texts
from wsgi_sessions.database.dbapi import check_identifier, executor

if TYPE_CHECKING:
    from wsgi_sessions.database.dbapi import ParamStyle

_LONGEST = 255
_HASHED = "sha256:"
GLOBAL = "global"
"""The scope that concerns every session."""


@dataclass(frozen=True)
class VersionTable:
    """A table with a row for each scope, and the names of its columns.

    `scope` must be unique, since a missing row is inserted; `version` may be an integer or a text
    column. Columns that are None are not written.

    Args:
        name: the table, with a schema if need be.
        key: in a table that holds other rows too, the scope ``global`` is the row of this key, and
            any other scope the row ``<key>:<scope>``. None: the rows have the names of the scopes.

    Raises:
        ConfigurationError: a name is not a plain identifier.
    """

    name: str = "wsgi_sessions_versions"
    scope: str = "scope"
    version: str = "version"
    created_at: str | None = "created_at"
    updated_at: str | None = "updated_at"
    description: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        check_identifier(self.name, parts=2)
        optional = (self.created_at, self.updated_at, self.description)
        for column in (self.scope, self.version, *filter(None, optional)):
            check_identifier(column)

    def row_of(self, scope: str) -> str:
        """Return the row name of a scope: its hash, where databases could not take the scope."""
        name = scope
        if self.key is not None:
            name = self.key if scope == GLOBAL else f"{self.key}:{scope}"
        return name if _fits(name) else _HASHED + texts.hashed(name)


def _fits(name: str) -> bool:
    """Return whether every database keeps a text as it is, in 255 characters."""
    return len(name) <= _LONGEST and name.isprintable() and not name.startswith(_HASHED)


OWN_TABLE = VersionTable()
SYSTEM_SETTINGS = VersionTable(
    name="system_settings",
    scope="key",
    version="value",
    description="description",
    key="session_version",
)
"""``system_settings(key, value, description, created_at, updated_at)``, row ``session_version``."""


def create_version_table(
    connection: Any, *, table: VersionTable = OWN_TABLE, paramstyle: ParamStyle | None = None
) -> None:
    """Create the table unless it exists, in the transaction of `connection`."""
    execute = executor(connection, paramstyle)
    columns = [
        f"{table.scope} VARCHAR(255) NOT NULL PRIMARY KEY",
        f"{table.version} BIGINT NOT NULL",
        *(f"{column} VARCHAR(255)" for column in (table.description,) if column),
        *(f"{c} TIMESTAMP WITH TIME ZONE" for c in (table.created_at, table.updated_at) if c),
    ]
    execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(columns)})", {})
