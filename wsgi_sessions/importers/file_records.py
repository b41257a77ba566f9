"""Foreign sessions in the files of cachelib's FileSystemCache: four bytes of expiry, a pickle."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HASHES = ("sha256", "md5")
"""The hashes of cachelib's file names, current and former."""
_NAME = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{32})?", re.ASCII)
_COUNT = b"__wz_cache_count"  # cachelib's own count of files
_COUNT_FILES = {hashlib.new(name, _COUNT, usedforsecurity=False).hexdigest() for name in HASHES}
_EXPIRY = struct.Struct("I")


class ForeignFiles:
    """The files of a folder by their paths; errors name the folder alone."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def content(self, path: str) -> bytes | None:
        """Return what a file holds, or None if it is missing. Raises StoreUnavailable."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.fault("import", error) from None

    def remove(self, path: str) -> None:
        """Remove a file. Idempotent. Raises StoreUnavailable."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self.fault("retire", error) from None

    def fault(self, operation: str, error: OSError) -> StoreUnavailable:
        """Return the error to raise, which does not name the file."""
        # Not chained: it contains the file's name.
        return StoreUnavailable(
            f"the folder of the sessions to import, {self.folder}, cannot be used: "
            f"{error.strerror}",
            operation=operation,
        )


class FileRecords:
    """`ForeignRecords` in a folder."""

    def __init__(self, folder: str, clock: Callable[[], float]) -> None:
        self._files = ForeignFiles(folder)
        self._clock = clock

    def load(self, name: str) -> bytes | None:
        content = self._content(name)
        if content is None:
            return None
        expires_at = _expiry(content)
        if expires_at is not None and expires_at < self._clock():
            return None
        return content[_EXPIRY.size :]

    def delete(self, name: str) -> None:
        self._files.remove(self._path(name))

    def names(self) -> Iterator[str]:
        try:
            found = os.listdir(self._files.folder)
        except OSError as error:
            raise self._files.fault("import", error) from None
        return (name for name in found if _NAME.fullmatch(name) and name not in _COUNT_FILES)

    def expires_at(self, name: str) -> float | None:
        content = self._content(name)
        return None if content is None else _expiry(content)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _content(self, name: str) -> bytes | None:
        return self._files.content(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self._files.folder, name)


def _expiry(content: bytes) -> float | None:
    if len(content) < _EXPIRY.size:
        return 0.0  # half a file counts as expired
    expires_at: int = _EXPIRY.unpack_from(content)[0]
    return float(expires_at) or None


def open_file_records(folder: str, clock: Callable[[], float]) -> FileRecords:
    """Return the records in a folder. Raises ConfigurationError if it does not exist."""
    if not os.path.isdir(folder):
        raise ConfigurationError(f"`imports.source`: there is no folder {folder!a}")
    return FileRecords(folder, clock)
