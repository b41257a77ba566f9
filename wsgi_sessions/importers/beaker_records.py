"""Foreign sessions in the files of Beaker: ``container_file/a/ab/abc….cache``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.importers.file_records import ForeignFiles
from wsgi_sessions.importers.libraries.beaker import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_END = ".cache"


class BeakerRecords:
    """`ForeignRecords` in a folder; each access of Beaker writes the file again.

    `timeout`: seconds after which an unused session has expired.
    """

    def __init__(self, folder: str, timeout: float, clock: Callable[[], float]) -> None:
        self._files = ForeignFiles(os.path.join(folder, "container_file"))
        self._timeout = timeout
        self._clock = clock

    def load(self, name: str) -> bytes | None:
        expires_at = self.expires_at(name)
        if expires_at is None or expires_at < self._clock():
            return None
        return self._files.content(self._path(name))

    def delete(self, name: str) -> None:
        self._files.remove(self._path(name))

    def names(self) -> Iterator[str]:
        def stop(error: OSError) -> None:
            raise self._files.fault("import", error) from None

        for _, _, files in os.walk(self._files.folder, onerror=stop):
            found = (file.removesuffix(_END) for file in files if file.endswith(_END))
            yield from filter(NAME.fullmatch, found)

    def expires_at(self, name: str) -> float | None:
        try:
            return os.stat(self._path(name)).st_mtime + self._timeout
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._files.fault("import", error) from None

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _path(self, name: str) -> str:
        return os.path.join(self._files.folder, name[:1], name[:2], name + _END)


def open_beaker_records(folder: str, timeout: float, clock: Callable[[], float]) -> BeakerRecords:
    """Return the records in Beaker's ``data_dir``. Raises ConfigurationError if it is not one."""
    if not os.path.isdir(os.path.join(folder, "container_file")):
        raise ConfigurationError(
            f"`imports.source`: there is no folder container_file in {folder!a}, as in the "
            "session.data_dir of Beaker"
        )
    return BeakerRecords(folder, timeout, clock)
