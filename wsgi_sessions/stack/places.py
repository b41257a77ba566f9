"""A fingerprint of the place of sessions: workers with the same one use the same store."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wsgi_sessions import texts

if TYPE_CHECKING:
    from wsgi_sessions.stack.config import Config

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


def place_of(config: Config) -> str:
    """Return 8 hex characters for the store of a configuration and the application's part of it.

    Users, passwords and options do not count. A folder or file counts by its inode, a server by its
    address; for a loopback address or a socket file, the name of this host counts too.

    Not promised: the same result for a server that is addressed by two names.
    """
    identity = "\0".join([*_identity_of(config.url), config.store_prefix, config.application or ""])
    return texts.hashed(identity)[:8]


def _identity_of(url: str) -> list[str]:
    parts = urlsplit(url)
    family = parts.scheme.partition("+")[0]
    family = {"rediss": "redis", "unix": "redis", "postgres": "postgresql", "mysql": "mariadb"}.get(
        family, family
    )
    if family in ("file", "sqlite") or parts.scheme == "unix":
        return [family, *_identity_of_file(unquote(parts.path))]
    hosts = parts.netloc.rpartition("@")[2].lower()
    host, _, port = hosts.rpartition(":") if re.search(r":[0-9]+$", hosts) else (hosts, "", "")
    if host.strip("[]") in _LOOPBACK:
        hosts = f"{socket.gethostname()} {port}"
    return [family, hosts, parts.path.rstrip("/") or "/0"]


def _identity_of_file(path: str) -> list[str]:
    """Identify a file by its inode, which is the same on all hosts of a shared file system."""
    try:
        found = os.stat(path)
    except OSError:
        return [socket.gethostname(), os.path.abspath(path)]
    marker = os.path.join(path, "FORMAT")
    inner = os.stat(marker).st_ino if os.path.exists(marker) else 0
    return [str(found.st_ino), str(inner)]
