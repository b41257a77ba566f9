"""Ends by an operator, from a command or the console: reported, traced, and logged with who did it.

The log of this module is the audit log of revocations: a warning for each, so that a process
without any configuration of logs writes it to stderr.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.endings.report import EndingReport
from wsgi_sessions.core.endings.traces import traces_in
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.limits.lifetimes import Lifetimes
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.words import counted
from wsgi_sessions.stack.secrets import kept_secrets
from wsgi_sessions.stack.sessions import lifetimes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config

_log = texts.log(__name__)


def manager_on(backend: Backend, config: Config) -> SessionManager:
    """Return a manager to look at sessions and to end them. It ignores the absolute lifetime: an
    operator's environment may differ from the application's."""
    return SessionManager(
        backend,
        lifetimes=Lifetimes(config.idle_lifetime, math.inf),
        events=_events(backend, config),
        traces=traces_in(backend.endings, config.endings_kept),
    )


@contextmanager
def reporting(backend: Backend, config: Config) -> Iterator[EndingReport]:
    """Provide the report of ends for a command that deletes; its traces are kept at the end."""
    traces = traces_in(backend.endings, config.endings_kept)
    report = EndingReport(_events(backend, config), lifetimes_of(config), backend, traces)
    try:
        yield report
    finally:
        if traces is not None:
            traces.close()


def revoke_session(manager: SessionManager, key: str, by: str) -> None:
    """End the session with this store key for the operator `by`. Raises StoreUnavailable."""
    with _keeping_traces(manager):
        manager.destroy(key, by=by)
    _log.warning("session %s ended by %s", short_key(key), by)


def revoke_sessions_of(
    manager: SessionManager,
    principal: str,
    by: str,
    *,
    keep: str | None = None,
    only: str | None = None,
) -> int:
    """End sessions of a user for the operator `by`; return how many. For `keep` and `only` see
    `Principals.destroy_sessions_of`. Raises StoreUnavailable."""
    with _keeping_traces(manager):
        ended = manager.destroy_sessions_of(principal, keep=keep, only=only, by=by)
    user = manager.events.pseudonyms.of(principal)
    _log.warning("%s of user %s ended by %s", counted(ended, "session"), user, by)
    return ended


@contextmanager
def _keeping_traces(manager: SessionManager) -> Iterator[None]:
    try:
        yield
    finally:
        if manager.endings.traces is not None:
            manager.endings.traces.close()


def _events(backend: Backend, config: Config) -> Events:
    try:
        pseudonyms = Pseudonyms(kept_secrets(config, backend)[-1])
    except ConfigurationError:
        pseudonyms = Pseudonyms()  # the secret for those in the log is unknown here
    return Events(pseudonyms=pseudonyms)
