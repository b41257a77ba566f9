"""The ``wsgi_app`` of an application, wrapped in the stack that serves its sessions."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.flask.config import changeable, config_of
from wsgi_sessions.contrib.flask.ending import Origin
from wsgi_sessions.contrib.flask.errors import Errors, take_failure
from wsgi_sessions.contrib.flask.events import is_socket
from wsgi_sessions.contrib.flask.naming import application_of
from wsgi_sessions.contrib.flask.overrides import settings_of
from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.environ import TRANSACTION_KEY
from wsgi_sessions.stack.build import Stack, build, outage_page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask
    from flask.sessions import SessionInterface

    from wsgi_sessions.stack.applications import Application
    from wsgi_sessions.stack.hooks import Hooks

_SERVED_KEY = "wsgi_sessions.flask"


class ServedApp:
    """The ``wsgi_app`` of an application, wrapped in a `Stack` from its first request on."""

    def __init__(self, interface: SessionInterface, app: Flask, hooks: Hooks) -> None:
        self.interface = interface
        self._app = app
        self._inner: WSGIApplication = app.wsgi_app
        self._hooks = hooks
        self._stack: Stack | None = None
        self._application: Application | None = None
        self._has_secret = False
        self._adopted: tuple[object, ...] | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        stack = self.stack() if self._app.session_interface is self.interface else None
        return (stack or self._inner)(environ, start_response)

    def stack(self) -> Stack | None:
        """Return the stack for the current configuration; None without a secret.

        Raises ConfigurationError.
        """
        wanted = changeable(settings_of(self._app))
        if wanted != self._adopted:
            with self._lock:
                if wanted != self._adopted:
                    self._adopt()
                    self._adopted = wanted
        return self._stack if self._has_secret else None

    def close(self) -> None:
        """See `WSGISessions.close`."""
        with self._lock:
            stack, self._stack, self._adopted = self._stack, None, None
        if stack is not None:
            stack.close()

    def take(self, environ: WSGIEnvironment) -> tuple[Any, Origin]:
        """Return the transaction of a request that came through the stack, on the first call during
        that request; otherwise None. Return also the origin of the session."""
        served, transaction = environ.get(_SERVED_KEY, (None, None))
        if is_socket(environ):
            return None, Origin.EVENT
        if served is not self:
            # A request context of a test, the very first request, or an event of an outer
            # middleware.
            return None, Origin.EVENT if "HTTP_UPGRADE" in environ else Origin.REQUEST
        if transaction is None or transaction.phase is Phase.ENDED:
            return None, Origin.EVENT
        environ[_SERVED_KEY] = self, None
        return transaction, Origin.STACK

    def _adopt(self) -> None:
        if self._application is None:
            self._application = application_of(self._app)
        config = config_of(settings_of(self._app), os.environ, self._application)
        self._has_secret = bool(config.secret_keys)
        if not self._has_secret:
            return
        if self._stack is None:
            hooks = self._hooks.copy()
            errors = Errors(self._app, outage_page(config, hooks), config.busy_status)
            hooks["on_unavailable"] = partial(self._answer_error, errors)
            self._stack = build(self._serve, config, **hooks)
        else:
            self._stack.change_cookie(config)

    def _answer_error(
        self, errors: Errors, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """Give the page of an error handler the session of the failed request."""
        environ[_SERVED_KEY] = (self, environ[TRANSACTION_KEY])
        return errors.answer(environ, start_response)

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application inside the stack."""
        environ[_SERVED_KEY] = (self, environ[TRANSACTION_KEY])
        take_failure(environ)
        body = self._inner(environ, start_response)
        failure = take_failure(environ)
        if failure is None:
            return body
        if hasattr(body, "close"):
            body.close()
        raise failure  # the middleware rolls back, reports and answers
