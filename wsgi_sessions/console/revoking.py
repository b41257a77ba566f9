"""Ending sessions from the console, where it was started with the right to."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from wsgi_sessions.operations.ending import manager_on, revoke_sessions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config


class Revoker:
    """Ends sessions of a user, in a store that it opens for each time with `open_backend`.

    `by`: who ends them, for the reports and traces of the ends.
    """

    def __init__(self, config: Config, open_backend: Callable[[], Backend], by: str) -> None:
        self._config = config
        self._open = open_backend
        self._by = by

    def end(self, principal: str, only: str | None) -> int:
        """End the session with this short key, or all of the user; return how many ended.

        Raises StoreUnavailable.
        """
        with closing(self._open()) as backend:
            manager = manager_on(backend, self._config)
            return revoke_sessions_of(manager, principal, self._by, only=only)
