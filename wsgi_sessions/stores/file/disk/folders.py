"""Folders of the store: private, made one by one, and synced to the disk."""

from __future__ import annotations

import os
from contextlib import suppress

from wsgi_sessions.errors import ConfigurationError


def make_private(*folders: str) -> None:
    """Make each missing folder (0700), the outer ones first. Raises OSError.

    One by one: if the session folder itself is gone, it must not be made again; and all of them
    must be private, not only the last one.
    """
    for folder in folders:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)


def make_folder(path: str) -> None:
    """Make a private folder (0700), and its parents. Raises ConfigurationError if it cannot.

    For the start: during requests, a fault is not a wrong setting.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        make_private(path)
        os.listdir(path)
    except OSError as error:
        raise ConfigurationError(
            f"the session folder {path} cannot be made ({error.strerror}): "
            "name another one in `url`, or change its permissions"
        ) from error


def sync_folder(path: str) -> None:
    """Sync a folder's entries to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
