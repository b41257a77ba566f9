"""Ending sessions from the console, where it was started with the right to."""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.secrets import kept_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config

_log = texts.log(__name__)


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
            # As for the commands: the absolute lifetime may differ from the application's here.
            lifetimes = Lifetimes(self._config.idle_lifetime, math.inf)
            manager = SessionManager(backend, lifetimes=lifetimes)
            user = self._pseudonym(backend, principal)
            ended = manager.destroy_sessions_of(principal, only=only, by=self._by)
        _log.warning("%d sessions of user %s ended by %s", ended, user, self._by)
        return ended

    def _pseudonym(self, backend: Backend, principal: str) -> str | None:
        """Return the user's name for the log. A store without a secret yet gives none."""
        try:
            secret = kept_secrets(self._config, backend)[-1]
        except ConfigurationError:
            return None
        return Pseudonyms(secret).of(principal)
