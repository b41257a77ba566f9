"""The files of one server: one for each of its processes, and one for all that have ended.

They lie in a private folder of the server, which the first of its processes makes. The numbers of
an ended process are added to the file of all ended ones, then its own file goes; both under the
folder's lock. That file names whose numbers it has, so that none counts twice if its writer dies in
between. Folders of servers that have ended are removed when another one begins.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.errors import LockTimeout
from wsgi_sessions.metrics.catalogue import CATALOGUE
from wsgi_sessions.metrics.cells import SeriesKey, fits, in_file, read
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import try_lock, wait_for_lock
from wsgi_sessions.stores.file.disk.replace import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsgi_sessions.metrics.cells import Cells

_LOCK, _ENDED = "lock", "ended"
_FILE = re.compile(r"(?P<process>[0-9]+-[0-9]+)-[0-9a-f]{16}\.cells")
_FOLDER = re.compile(r"(?P<space>[0-9]+)-(?P<process>[0-9]+-[0-9]+)-[0-9a-f]{16}")
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_WAIT = 2.0  # seconds for the lock
_FOREIGN_SECONDS = 30 * 86400.0
_log = texts.log(__name__)


class Processes(Protocol):
    """The processes of this host, each under a name that no later one gets."""

    def here(self) -> str:
        """Return the name of this process: its number, ``-``, and the time of its start."""

    def is_alive(self, name: str) -> bool:
        """Return whether a process of this name still runs; True if that is unknown."""


@texts.shows("space", "process", "application")
class ServerName(NamedTuple):
    """The name of a server: of its process, of the numbers' space it is in, of its application."""

    space: int
    process: str
    application: str

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"{self.space}-{self.process}-{texts.hashed(self.application)[:16]}"


@texts.shows("processes")
class Totals(NamedTuple):
    """The numbers of a server: its series, and how many of its processes live."""

    series: dict[SeriesKey, list[float]]
    processes: int


@texts.shows()
class _EndedProcesses(msgspec.Struct):
    """The content of the file of all ended processes: whose numbers it has, and their sums."""

    added: list[str] = []
    series: list[tuple[str, list[str], list[float]]] = []


class ServerFiles:
    """The files of one server; see the module. Each process has an object of its own, or a fork's.

    `root` is where the folders of this user's servers are, asked in each process.
    """

    def __init__(self, root: Callable[[], str], server: ServerName, processes: Processes) -> None:
        self._root = root
        self._server = server
        self._processes = processes

    def open_own(self) -> Cells:
        """Return the cells of this process, in a new file. Raises OSError."""
        root = self._root()
        _make_trusted(os.path.dirname(root))
        _make_trusted(root)
        folder = os.path.join(root, self._server.folder)
        _make_trusted(folder)
        self._remove_old_servers(root)
        with suppress(LockTimeout), self._locked(folder, 0.0):  # else at another time
            self._add_ended(folder)
        return in_file(
            os.path.join(folder, f"{self._processes.here()}-{secrets.token_hex(8)}.cells")
        )

    def totals(self) -> Totals:
        """Return the sum over all processes. Raises OSError, and LockTimeout."""
        folder = os.path.join(self._root(), self._server.folder)
        with self._locked(folder, _WAIT):
            names, ended = self._add_ended(folder)
            parts = [read(os.path.join(folder, name)) for name in names]
        return Totals(_sum(_known(ended), parts), len(parts))

    @contextmanager
    def _locked(self, folder: str, timeout: float) -> Iterator[None]:
        fd = os.open(os.path.join(folder, _LOCK), _OPEN, 0o600)
        try:
            if not try_lock(fd):
                wait_for_lock(fd, monotonic() + timeout, f"the folder of metrics {folder}")
            os.utime(fd)  # see `_is_over`
            yield
        finally:
            os.close(fd)  # unlocks

    def _add_ended(self, folder: str) -> tuple[list[str], _EndedProcesses]:
        """Add the numbers of processes that have ended; return the files of the others."""
        names = [name for name in os.listdir(folder) if _FILE.fullmatch(name)]
        over = [name for name in names if not self._processes.is_alive(_process_of(name))]
        ended = _read_ended(os.path.join(folder, _ENDED))
        fresh = [name for name in over if name not in ended.added]
        if fresh:
            parts = [_lasting(read(os.path.join(folder, name))) for name in fresh]
            sums = _sum(_known(ended), parts)
            series = [(key.metric, [*key.labels], values) for key, values in sums.items()]
            ended = _EndedProcesses(over, series)
            replace_file(os.path.join(folder, _ENDED), msgspec.json.encode(ended))
        for name in over:
            os.unlink(os.path.join(folder, name))
        return [name for name in names if name not in over], ended

    def _remove_old_servers(self, root: str) -> None:
        for name in os.listdir(root):
            folder = os.path.join(root, name)
            if name != self._server.folder and _FOLDER.fullmatch(name) and self._is_over(folder):
                shutil.rmtree(folder, ignore_errors=True)  # another process may do so too

    def _is_over(self, folder: str) -> bool:
        """Return whether no process of a server is left.

        One of another container that shares the folder cannot be asked: then its age decides.
        """
        found = _FOLDER.fullmatch(os.path.basename(folder))
        if found is None:
            return False
        with suppress(OSError):
            if int(found["space"]) != self._server.space:
                at = os.stat(os.path.join(folder, _LOCK)).st_mtime
                return time.time() - at > _FOREIGN_SECONDS
            names = [name for name in os.listdir(folder) if _FILE.fullmatch(name)]
            known = {found["process"], *map(_process_of, names)}
            return not any(map(self._processes.is_alive, known))
        return False


def _make_trusted(folder: str) -> None:
    """Make a folder for this user alone, if it is missing. Raises OSError if it is not."""
    make_private(folder)
    status = os.lstat(folder)
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.geteuid()
        or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise PermissionError(f"{folder} does not belong to this user alone")


def _process_of(name: str) -> str:
    found = _FILE.fullmatch(name)
    return "" if found is None else found["process"]


def _read_ended(path: str) -> _EndedProcesses:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=_EndedProcesses)
    except FileNotFoundError:
        return _EndedProcesses()
    except msgspec.MsgspecError as error:
        _log.warning("the metrics of ended processes are lost: %s: %s", path, error)
        return _EndedProcesses()


def _known(ended: _EndedProcesses) -> dict[SeriesKey, list[float]]:
    return {
        SeriesKey(name, tuple(labels)): values
        for name, labels, values in ended.series
        if fits(name, labels, len(values))
    }


def _lasting(part: dict[SeriesKey, list[float]]) -> dict[SeriesKey, list[float]]:
    """Return the series that count after the end of their process: no gauge does."""
    return {key: v for key, v in part.items() if CATALOGUE[key.metric].kind != "gauge"}


def _sum(
    first: dict[SeriesKey, list[float]], parts: Iterable[dict[SeriesKey, list[float]]]
) -> dict[SeriesKey, list[float]]:
    total = dict(first)
    for part in parts:
        for key, values in part.items():
            known = total.get(key)
            total[key] = values if known is None else _both(key, known, values)
    return total


def _both(key: SeriesKey, one: list[float], other: list[float]) -> list[float]:
    if CATALOGUE[key.metric].kind == "reading":
        return max(one, other, key=lambda reading: reading[1])
    return [a + b for a, b in zip(one, other, strict=True)]
