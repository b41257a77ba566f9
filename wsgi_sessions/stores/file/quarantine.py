"""Damaged files of the session folder, in quarantine."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.file.disk.folders import make_private
from wsgi_sessions.stores.file.disk.retries import folder_fault
from wsgi_sessions.stores.file.disk.system import swallow

if TYPE_CHECKING:
    from wsgi_sessions.contract import Purpose
    from wsgi_sessions.upkeep import OnSetAside

MAX_QUARANTINED = 100
_log = texts.log(__name__)


class QuarantineFolder:
    """Damaged session files, kept for inspection: the latest 100, older ones are removed."""

    def __init__(self, folder: str, purpose: Purpose = "use") -> None:
        self._folder = os.path.join(folder, "quarantine")
        self._purpose = purpose
        self.told: OnSetAside | None = None

    def found(self, path: str, key: str, reason: str) -> None:
        """Like `take`, for a file that the store itself found damaged: that is told of."""
        if self.take(path, key, reason) and self.told is not None:
            self.told(key, reason)

    def take(self, path: str, key: str, reason: str) -> bool:
        """Move the file at `path` here, except with purpose "look"; return whether it was there.

        Idempotent. Raises OSError.
        """
        if self._purpose == "look":
            return False
        make_private(self._folder)
        name = f"{time.time_ns()}-{secrets.token_hex(4)}-{key}"
        try:
            os.rename(path, os.path.join(self._folder, name))
        except FileNotFoundError:
            return False
        _log.error("session %s set aside in quarantine: %s", short_key(key), reason)
        for old in sorted(self._names())[:-MAX_QUARANTINED]:
            _remove(os.path.join(self._folder, old))
        return True

    def count(self) -> int:
        """Return the number of files here."""
        return len(self._names())

    def _names(self) -> list[str]:
        with folder_fault("quarantine"), suppress(FileNotFoundError):
            return os.listdir(self._folder)
        return []


def _remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        swallow(error, "an old quarantined file stays")
