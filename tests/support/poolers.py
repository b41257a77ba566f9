"""A real PgBouncer before a PostgreSQL database of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from redis_servers import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database

PoolMode = Literal["session", "transaction"]


def missing_pgbouncer() -> str | None:
    """Why no PgBouncer can be started here, or None."""
    return None if _program() else "Debian's pgbouncer is not installed"


@contextmanager
def pgbouncer(database: Database, mode: PoolMode, *, connections: int = 20) -> Iterator[str]:
    """A PgBouncer on loopback that has so many connections to a PostgreSQL database; its URL.

    It refuses to run as root: then it runs as the user who owns the database's socket.
    """
    parts = urlsplit(database.address)
    folder, name, user = parse_qs(parts.query)["host"][0], parts.path[1:], parts.username
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ws-pgbouncer-") as own:
        os.chmod(own, 0o777)  # its user has to write there
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": connections,
            "max_client_conn": 500,
            "logfile": f"{own}/log",
        }
        lines = [f"{setting} = {value}" for setting, value in settings.items()]
        target = f"{name} = host={folder} dbname={name} user={user}"
        Path(own, "ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
        command = [*_as_owner_of(folder), str(_program()), "--quiet", f"{own}/ini"]
        pooler = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _listens(port) or pooler.poll() is not None, "PgBouncer", 20)
            yield f"postgresql://{user}@127.0.0.1:{port}/{name}"
        finally:
            pooler.kill()
            pooler.wait()


def _program() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _as_owner_of(folder: str) -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={os.stat(folder).st_uid}", "--clear-groups"]


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
