"""Traces of ended sessions, in 256 files: lines of JSON, the newest last.

A line is appended, and a file is replaced as a whole, under a lock beside it; it is read without
one. A line that a killed worker wrote in part is skipped.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from heapq import nlargest
from typing import TYPE_CHECKING

from wsgi_sessions.endings import pack, surplus, unpack
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.locking import locked_path
from wsgi_sessions.stores.file.disk.replace import replace_file
from wsgi_sessions.stores.file.disk.retries import retrying
from wsgi_sessions.stores.file.disk.system import READ

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from wsgi_sessions.endings import EndTrace

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_LOCK = ".lock-"
_NAME = 2  # the first digits of a key


class FileEndings:
    """`EndTraces` in a session folder. `timeout`: seconds a call may wait for a file."""

    def __init__(self, folder: str, *, timeout: float = 1.0) -> None:
        self._folder = os.path.join(folder, "endings")
        self._timeout = timeout

    def keep(self, traces: Sequence[EndTrace], seconds: float) -> None:  # noqa: ARG002  # see `trim`
        """See `EndTraces.keep`. One lock for each file."""
        lines: defaultdict[str, list[bytes]] = defaultdict(list)
        for trace in traces:
            # The end of a line comes before the next one: the last one may have been cut off.
            lines[trace.key[:_NAME]].append(b"\n" + pack(trace))
        for name, new in lines.items():
            retrying("keep a trace", name, self._append, b"".join(new))

    def trace_of(self, key: str) -> EndTrace | None:
        """See `EndTraces.trace_of`. Reads one file."""
        return retrying("trace", key, self._of, key).get(key)

    def matching(self, beginning: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.matching`. Reads one file."""
        found = retrying("trace", beginning, self._of, beginning).values()
        return [trace for trace in found if trace.key.startswith(beginning)][:limit]

    def of_user(self, user: str, limit: int) -> list[EndTrace]:
        """See `EndTraces.of_user`. Reads all files."""
        found = retrying("trace", "", lambda _: self._all(user))
        return nlargest(
            limit, (trace for trace in found if trace.user == user), key=lambda trace: trace.at
        )

    def trim(self, before: float, most: int) -> int:
        """See `EndTraces.trim`. Reads all files."""
        doomed = surplus(retrying("trim traces", "", lambda _: self._all()), before, most)
        for name in {key[:_NAME] for key in doomed}:
            retrying("trim traces", name, self._drop, doomed)
        return len(doomed)

    def _append(self, name: str, data: bytes) -> None:
        make_private(self._folder)
        with self._locked(name):
            fd = os.open(self._path(name), _APPEND, 0o600)
            with open(fd, "ab", buffering=0) as file:
                file.write(data)

    def _drop(self, name: str, doomed: set[str]) -> None:
        with self._locked(name):
            kept = [trace for trace in self._of(name).values() if trace.key not in doomed]
            if kept:
                replace_file(self._path(name), b"".join(b"\n" + pack(trace) for trace in kept))
                return
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _of(self, beginning: str, about: str = "") -> dict[str, EndTrace]:
        """Return the traces by key in the file for keys that begin like this.

        Lines without the text `about` need not be among them.
        """
        wanted = (about or beginning).encode()
        try:
            fd = os.open(self._path(beginning[:_NAME]), READ)
        except FileNotFoundError:
            return {}
        with open(fd, "rb") as file:
            lines = file.read().split(b"\n")
        found = (unpack(line) for line in lines if wanted in line)
        return {trace.key: trace for trace in found if trace is not None}

    def _all(self, about: str = "") -> list[EndTrace]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        shards = (self._of(name, about) for name in names if len(name) == _NAME)
        return [trace for shard in shards for trace in shard.values()]

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _locked(self, name: str) -> AbstractContextManager[object]:
        return locked_path(self._path(_LOCK + name), self._timeout, name)
