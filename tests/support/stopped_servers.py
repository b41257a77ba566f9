"""Database servers that are stopped in the middle of a statement."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database


TIMEOUT = 0.5


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    with ExitStack() as stack:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        yield


def connections(database: Database) -> list[int]:
    rows = database.run(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return [int(pid) for (pid,) in rows]


def postmaster_of(database: Database) -> int:
    ((folder,),) = database.run("SHOW data_directory")
    return int((Path(folder) / "postmaster.pid").read_text().split()[0])
