"""An outage of the store, made by hand: for some seconds no worker reaches it."""

from __future__ import annotations

import os
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import StoreUnavailable

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend

SECONDS = 5.0
_ABILITIES = (
    "sessions",
    "iteration",
    "index",
    "locks",
    "leased_loading",
    "leases",
    "versions",
    "contexts",
    "refreshes",
)
_DELAY = 0.2  # the request that asks for it is still to be answered


class Outage:
    """An outage that all workers share, by a file in their folder.

    Each operation of the store fails as if its server did not answer. The store itself goes on: it
    may be one that others use.
    """

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "outage")

    def begin(self) -> None:
        """Have all operations fail, soon and for `SECONDS`."""
        start, temporary = time.time() + _DELAY, f"{self._path}.{os.getpid()}"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{start} {start + SECONDS}")
        os.replace(temporary, self._path)

    def is_on(self) -> bool:
        """Return whether the store does not answer now."""
        try:
            with open(self._path, encoding="ascii") as file:
                start, end = map(float, file.read().split())
        except FileNotFoundError:
            return False
        return start <= time.time() < end

    def keep_out(self, backend: Backend) -> None:
        """Put the outage in front of every operation of a backend, in this process."""
        for ability in filter(None, (getattr(backend, name) for name in _ABILITIES)):
            for name in dir(ability):
                operation = getattr(ability, name)
                if not name.startswith("_") and name != "close" and callable(operation):
                    setattr(ability, name, self._guarded(name, operation))

    def _guarded(self, name: str, operation: Any) -> Any:
        @wraps(operation)
        def guarded(*args: Any, **more: Any) -> Any:
            if self.is_on():
                raise StoreUnavailable("the demonstration stopped the store", operation=name)
            return operation(*args, **more)

        return guarded
