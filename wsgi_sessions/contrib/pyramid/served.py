"""The sessions of one Pyramid application: their factory, and what serves its requests."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.pyramid.config import application_of, config_of, url_of
from wsgi_sessions.contrib.pyramid.errors import ROUTER_KEY, answer
from wsgi_sessions.contrib.pyramid.session import PyramidSession
from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.environ import TRANSACTION_KEY
from wsgi_sessions.stack.applications import distinct
from wsgi_sessions.stack.build import Stack, build, outage_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.http.exchange import SessionExchange
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks

    ExecutionPolicy = Callable[[WSGIEnvironment, Any], WSGIApplication]

_SERVED_KEY = "wsgi_sessions.pyramid"


class ServedSessions:
    """Pyramid's session factory of one registry, and the `Stack` around its application.

    Requests that come by the application have the session of the stack, which commits it after all
    tweens and response callbacks, when the headers leave. Any other request (a subrequest, one of a
    script or a test) has one of its own: a response callback commits it.
    """

    def __init__(self, registry: Any, package: Any) -> None:
        self.hooks: Hooks = {}
        self._registry = registry
        self._application = application_of(package)
        self._stack: Stack | None = None
        self._lock = threading.Lock()

    def __call__(self, request: Any) -> PyramidSession:
        """Return the session of a request. Nothing is read yet. Raises ConfigurationError."""
        transaction: Transaction | None = request.environ.get(_SERVED_KEY)
        if transaction is None or transaction.phase is Phase.ENDED:
            exchange = self.stack().sessions.open(request.environ)
            transaction = exchange.transaction
            _commit_with(request, exchange)
        return PyramidSession(transaction)

    def config(self) -> Config:
        """Return the configuration of the application. Raises ConfigurationError."""
        return config_of(self._registry.settings or {}, os.environ, self._application)

    def stack(self) -> Stack:
        """Return the stack, opened at the first call. Raises ConfigurationError."""
        if self._stack is None:
            with self._lock:
                if self._stack is None:
                    config, hooks = self.config(), self.hooks.copy()
                    hooks["on_unavailable"] = partial(answer, outage_page(config, hooks))
                    self._stack = build(_serve, config, **hooks)
        return self._stack

    def close(self) -> None:
        """Stop what runs in the background, and close the store's connections."""
        with self._lock:
            stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    def serve(self, router: Any) -> None:
        """Have the requests of an application go through the stack. Raises ConfigurationError."""
        url = url_of(self._registry.settings or {}, os.environ)
        self._application = distinct(self._application, url, _parts_of(self._registry))
        self.config()
        router.execution_policy = partial(self._pass_on, router.execution_policy)

    def _pass_on(
        self, policy: ExecutionPolicy, environ: WSGIEnvironment, router: Any
    ) -> WSGIApplication:
        """Be an execution policy, whose response is the stack with the application inside."""
        environ[ROUTER_KEY] = router
        begun: Transaction | None = environ.get(TRANSACTION_KEY)
        if begun is not None and begun.phase is not Phase.ENDED:
            environ[_SERVED_KEY] = begun  # of a stack around the application
            return policy(environ, router)
        environ[_SERVED_KEY] = partial(policy, environ, router)
        return self.stack()


def _parts_of(registry: Any) -> list[Any]:
    """Return what tells applications of one package apart: settings, routes and views."""
    asked = (("routes", "pattern"), ("views", "callable"))
    return [
        dict(registry.settings or {}),
        *(
            each["introspectable"].get(name)
            for category, name in asked
            for each in registry.introspector.get_category(category, ())
        ),
    ]


def _serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run the application's own execution policy, inside of the stack."""
    respond: Callable[[], WSGIApplication] = environ[_SERVED_KEY]
    environ[_SERVED_KEY] = environ[TRANSACTION_KEY]
    return respond()(environ, start_response)


def _commit_with(request: Any, exchange: SessionExchange) -> None:
    """Have a session of its own committed with the response of a request."""

    def commit(_request: Any, response: Any) -> None:
        made = exchange.finish(response.status, list(response.headerlist))
        if made is not None:
            response.status = made.status
            response.headerlist = made.headers
            if made.body is not None:
                response.body = made.body

    def end(_request: Any) -> None:
        if exchange.transaction.phase is Phase.OPEN:  # there was no response
            exchange.fail(getattr(request, "exception", None) or LookupError("no response"))
        exchange.end(ran_on=False)

    request.add_response_callback(commit)
    request.add_finished_callback(end)
