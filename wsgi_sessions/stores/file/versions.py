"""Version stamps in the session folder: a small file per scope, replaced as a whole.

``versions/<hash>`` holds the scope's latest bumps in JSON; a bump locks ``versions/lock``. Reading
takes no lock. A bump is on the disk when it returns, under any `fsync` of the sessions: it is rare,
and a lost one would leave old data in sessions.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.contract import Bump
from wsgi_sessions.errors import StoreUnavailable, bare
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import lock_ours
from wsgi_sessions.stores.file.disk.replace import replace_file
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.file.disk.system import WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_HISTORY = 100


class FileVersions:
    """`VersionStamps` for all processes that share the session folder.

    `timeout`: seconds that a bump may wait for another one.
    """

    def __init__(
        self, folder: str, *, timeout: float = 1.0, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._root = folder
        self._folder = os.path.join(folder, "versions")
        self._timeout = timeout
        self._clock = clock

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """See `VersionStamps.current`. Costs one small read a scope."""
        return {scope: self._version(self._read(scope)) for scope in scopes}

    def bump(self, scope: str, *, least: int = 0) -> int:
        """See `VersionStamps.bump`."""
        return retrying("bump", "", lambda _: self._bump(scope, least))

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """See `VersionStamps.history`. The latest 100 are kept."""
        return self._read(scope)[:limit]

    @staticmethod
    def _version(bumps: list[Bump]) -> int:
        return bumps[0].version if bumps else 0

    def _bump(self, scope: str, least: int) -> int:
        with self._locked():
            bumps = self._read_once(self._path(scope))
            version = max(self._version(bumps) + 1, least)
            self._write(scope, [Bump(version, self._clock()), *bumps][:_HISTORY])
        return version

    def _path(self, scope: str) -> str:
        return os.path.join(self._folder, texts.hashed(scope))

    def _read(self, scope: str) -> list[Bump]:
        return retrying("versions", "", lambda _: self._read_once(self._path(scope)))

    def _read_once(self, path: str) -> list[Bump]:
        try:
            with open(path, "rb") as file:
                return _parse(file.read(), path)
        except FileNotFoundError:
            # Never bumped; unless the whole folder is missing, as when its disk is not mounted.
            os.stat(self._root)
            return []

    def _write(self, scope: str, bumps: list[Bump]) -> None:
        data = json.dumps({"scope": scope, "bumps": bumps}).encode("ascii")
        replace_file(self._path(scope), data, fsync="full")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_private(self._folder)
        path, flags = os.path.join(self._folder, "lock"), WRITE | os.O_CREAT
        deadline = monotonic() + self._timeout
        with lock_ours(path, flags, deadline, "", "the folder of version stamps"):
            yield


def _parse(data: bytes, path: str) -> list[Bump]:
    try:
        found: Any = json.loads(data)["bumps"]
        return [Bump(int(version), float(at)) for version, at in found]
    except (ValueError, TypeError, KeyError) as error:
        # Taking it for 0 would restart the versions: those in sessions would be ahead of them.
        raise StoreUnavailable(
            f"the version stamp in {path} is damaged: restore it, or remove it, and every session "
            "of its scope is refreshed",
            operation="versions",
        ) from bare(error)
