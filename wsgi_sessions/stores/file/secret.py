"""The signing secret beside the sessions, the same for all workers of the folder."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import MIN_SECRET_BYTES, new_secret
from wsgi_sessions.linking import name_new_file
from wsgi_sessions.stores.file.disk.owners import user_name
from wsgi_sessions.stores.file.disk.ownership import close_to_own_group
from wsgi_sessions.stores.file.disk.retries import folder_fault
from wsgi_sessions.stores.file.disk.system import CREATE, READ

if TYPE_CHECKING:
    from wsgi_sessions.stores.file.disk.ownership import Ownership

_LIMIT = 4096  # bytes; ours has 65
_log = texts.log(__name__)


class FileSecret:
    """`SecretKeeper` in a session folder. A secret once read stays in memory, for `restore`."""

    def __init__(self, folder: str, ours: Ownership) -> None:
        self._path = os.path.join(folder, "secret")
        self._ours = ours
        self._known: str | None = None

    def secret(self) -> str:
        """See `SecretKeeper.secret`. Raises StoreUnavailable.

        Raises ConfigurationError for a secret that other users can read or write.
        """
        with folder_fault("secret"):
            self._known = self.kept() or self._make()
        return self._known

    def restore(self) -> None:
        """Write the secret again if its file is gone: signed cookies then outlive a restart.

        Does nothing if this process never read it. Raises OSError.
        """
        if self._known is None or os.path.lexists(self._path):
            return
        with suppress(FileExistsError):
            self._write(self._known)
            _log.warning(
                "%s was missing, and was made again: does something remove old files there "
                "(systemd-tmpfiles)? Set `secret_keys`, or name another folder",
                self._path,
            )

    def kept(self) -> str | None:
        """See `SecretKeeper.kept`. Raises as `secret`."""
        with folder_fault("secret"), suppress(FileNotFoundError):
            return self._read()
        return None

    def _make(self) -> str:
        with suppress(FileExistsError):  # another worker was first: all use its secret
            self._write(new_secret())
            _log.info("made a signing secret in %s, shared by all workers of it", self._path)
        return self._read()

    def _write(self, secret: str) -> None:
        """Write the secret; no other file with it is left. Raises FileExistsError."""
        temporary = f"{self._path}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            with open(os.open(temporary, CREATE, 0o600), "w", encoding="ascii") as file:
                file.write(secret + "\n")
            name_new_file(temporary, self._path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _read(self) -> str:
        try:
            fd = os.open(self._path, READ)
        except FileNotFoundError:
            raise
        except OSError as error:
            owner = user_name(os.lstat(self._path).st_uid)
            why = f"cannot be opened ({error.strerror}; it belongs to user {owner})"
            raise self._unusable(why) from error
        try:
            self._require_private(os.fstat(fd))
            return self._checked(os.read(fd, _LIMIT))
        finally:
            os.close(fd)

    def _require_private(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._unusable("is not a file")
        if status.st_uid not in self._ours.owners:
            raise self._unusable(f"belongs to user {user_name(status.st_uid)}")
        if status.st_mode & stat.S_IRWXG and not status.st_mode & stat.S_IRWXO:
            status = close_to_own_group(self._path, status)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"the secret {self._path} can be read by other users: delete it (everybody then "
                "logs in again), or chmod 600 it if nobody else has been here; or set "
                "`secret_keys`"
            )

    def _checked(self, content: bytes) -> str:
        try:
            secret = content.decode("ascii").strip()
        except UnicodeDecodeError:
            secret = ""
        if len(secret) < MIN_SECRET_BYTES or not secret.isprintable():
            raise self._unusable(
                f"holds no text of {MIN_SECRET_BYTES} printable ASCII characters or more"
            )
        return secret

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path}, which is to hold the signing secret, {why}: remove it after a look "
            "(everybody then logs in again), or set `secret_keys`"
        )
