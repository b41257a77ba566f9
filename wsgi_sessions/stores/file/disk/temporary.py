"""A temporary file: being written, under a name of its own."""

from __future__ import annotations

import os
import secrets

from wsgi_sessions.stores.file.disk.locking import lock_at
from wsgi_sessions.stores.file.disk.system import CREATE, swallow


class Temporary:
    """A file that is being written under a name of its own.

    Its writer holds its lock: a temporary without a holder is an orphan, at any age.
    """

    PREFIX = ".tmp-"

    def __init__(self, folder: str, owners: frozenset[int], deadline: float, key: str) -> None:
        self.path = f"{folder}/{self.PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            # Made again if a sweep took it for an orphan before it was locked.
            self.file = lock_at(self.path, CREATE, owners, deadline, key)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the name, if it still exists."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            swallow(error, "a temporary stays until the next sweep")
