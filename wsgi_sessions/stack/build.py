"""The composition root: builds a wrapped application from a configuration."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.http.cookies.session_cookie import SessionCookie
from wsgi_sessions.http.devices import browser_namer
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.http.retry import RetryMiddleware
from wsgi_sessions.leases.middleware import LeaseMiddleware
from wsgi_sessions.stack.applications import config_for
from wsgi_sessions.stack.config import naming_variables
from wsgi_sessions.stack.contexts import with_contexts
from wsgi_sessions.stack.hooks import load_hook
from wsgi_sessions.stack.paths.health import with_health
from wsgi_sessions.stack.paths.metrics import meter_of, with_metrics
from wsgi_sessions.stack.secrets import secrets_of
from wsgi_sessions.stack.sessions import Sessions, open_counted, signer_of
from wsgi_sessions.stack.versions import with_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

    from wsgi_sessions.contexts.policy import ContextPolicy
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.http.answers import OnUnavailable
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks


_log = texts.log(__name__)


def from_env(app: WSGIApplication, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as configured by ``WSGI_SESSIONS_…`` environment variables.

    Raises ConfigurationError, naming every variable that is wrong. A single store is not contacted
    before the first request: an application can start while its Redis is down. Of several stores,
    the first healthy one is determined here, once for all workers (`open_chosen`).

    Its name keeps the application apart from all others: see `wsgi_sessions.stack.applications`.
    """
    config = config_for(app, os.environ, sys._getframe(1))  # noqa: SLF001  # the module that calls
    return build(app, config, **hooks)


@naming_variables()
def build(app: WSGIApplication, config: Config, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as configured. Raises ConfigurationError.

    Hooks are passed here, or named in the configuration.
    """
    meter = meter_of(config)
    sessions = open_counted(config, hooks, meter)
    config, manager = sessions.config, sessions.manager
    app, contexts = with_contexts(app, config.context, manager, hooks)
    app, stamps, judge = with_versions(app, config, manager, hooks)
    if sessions.leases is not None:
        app = LeaseMiddleware(app, sessions.leases)
    middleware = SessionMiddleware(
        app,
        manager,
        sessions.cookie,
        exclusive_paths=config.exclusive_paths,
        adoption=sessions.adoption,
        busy_status=config.busy_status,
        on_unavailable=outage_page(config, hooks),
        login_cookies=config.login_cookies,
        early_cookie=config.early_cookie,
        retry_token_header=config.retry_token_header,
        name_device=browser_namer() if config.label_devices else None,
        when_opened=judge,
    )
    # Bound once: calling the object itself takes twice as long, on every request.
    app = with_health(_with_retries(middleware, config), config, manager.backend, sessions.secrets)
    app = with_metrics(app, config, meter)
    return Stack(app, middleware, sessions, contexts, stamps)


class Stack:
    """A wrapped application and its parts."""

    def __init__(
        self,
        app: WSGIApplication,
        sessions: SessionMiddleware,
        opened: Sessions,
        contexts: Mapping[str, ContextPolicy] | None = None,
        stamps: Backend | None = None,
    ) -> None:
        self._app = app
        self.sessions = sessions
        self.opened = opened
        self.manager = sessions.manager
        self.config = opened.config
        self.leases = opened.leases
        self.contexts = dict(contexts or {})
        self._sweeper = opened.sweeper
        self._refresher = opened.refresher
        self._stamps = stamps

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        if self._sweeper is not None:
            self._sweeper.ensure_running()
        if self._refresher is not None:
            self._refresher.ensure_running()
        return self._app(environ, start_response)

    def change_cookie(self, config: Config) -> None:
        """Read and write cookies by another configuration, from the next request on.

        Raises ConfigurationError.
        """
        secrets = secrets_of(config, self.manager.backend)
        self.sessions.cookie = SessionCookie(config.cookie, signer_of(secrets, config))

    def close(self) -> None:
        """Stop the sweeper and the refresher, close the store's connections."""
        if self._stamps is not None:
            self._stamps.close()
        self.opened.close()


def outage_page(config: Config, hooks: Hooks) -> OnUnavailable | None:
    """Return the application's own page for outages, passed or named. Raises ConfigurationError."""
    given = hooks.get("on_unavailable")
    if given is None and config.on_unavailable is not None:
        given = load_hook(config.on_unavailable, "WSGI_SESSIONS_ON_UNAVAILABLE")
    return given


def _with_retries(sessions: SessionMiddleware, config: Config) -> WSGIApplication:
    if not config.retry_paths:
        return sessions.__call__
    paths, max_body = config.retry_paths, config.retry_max_body
    return RetryMiddleware(sessions, paths=paths, max_body=max_body).__call__
