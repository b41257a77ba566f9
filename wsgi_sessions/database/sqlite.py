"""SQLite's file: made without being opened, connected to, and its journal.

SQLite holds its locks by ``fcntl``. The kernel drops all locks of a process on a file as soon as
the process closes any descriptor of it, so nothing but SQLite itself ever opens the file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from tempfile import mkstemp
from typing import TYPE_CHECKING
from urllib.parse import quote

from wsgi_sessions.linking import name_new_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

# SQLite's own wait for a lock. It waits in C code, which stops all of gevent's greenlets: the
# engine does the rest of the waiting.
_WAIT_MS = 5
_PRIVATE = 0o600


def make_file(path: str) -> None:
    """Make an empty database file for its owner alone, unless the path exists.

    The file is never opened under that name, neither a new nor an existing one (see above). Raises
    nothing: a fault that keeps the file from being made keeps SQLite from opening it, and SQLite
    reports it.
    """
    with suppress(OSError):
        target = os.path.realpath(path)
        try:
            os.mknod(target, stat.S_IFREG | _PRIVATE)
        except PermissionError:
            _link(target)  # on some systems only root may call mknod


def _link(target: str) -> None:
    descriptor, temporary = mkstemp(dir=os.path.dirname(target))
    try:
        os.close(descriptor)  # before any process could connect to it
        name_new_file(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def connect(path: str) -> sqlite3.Connection:
    """Connect to the database in an existing file. Changes nothing in it.

    Raises sqlite3.OperationalError if there is none.
    """
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw", uri=True, timeout=0, check_same_thread=False
    )
    try:
        connection.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            # Safe for a file with a write-ahead log, and only for that.
            connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def use_wal_if_empty(connection: Connection) -> None:
    """Give an empty SQLite database a write-ahead log, outside of a transaction.

    A database with content keeps its journal: the mode is written into the file, for all programs
    that use it, such as a backup that copies the one file. Other databases are left alone.
    """
    if connection.dialect.name != "sqlite":
        return
    if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
