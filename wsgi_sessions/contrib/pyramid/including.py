"""What ``config.include`` does to a Pyramid application: session factory, tween, retries."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.pyramid.session import PyramidSession
from wsgi_sessions.contrib.pyramid.tween import SessionTween
from wsgi_sessions.core.source import Phase
from wsgi_sessions.http.environ import TRANSACTION_KEY
from wsgi_sessions.stack.applications import Application, config_named, named_after, project_path
from wsgi_sessions.stack.build import Stack, build

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.stack.config import Config

_PREFIX = "wsgi_sessions."
_PRINCIPAL_KEY = "auth.userid"  # where Pyramid's SessionAuthenticationHelper keeps who logged in
_TWEEN = "wsgi_sessions.contrib.pyramid.including.tween_factory"


def includeme(config: Any) -> None:
    """Have a Pyramid application's sessions kept by this package::

        config.include("wsgi_sessions.contrib.pyramid")

    The settings of a deployment (``wsgi_sessions.url = redis://localhost/0``) go before the
    environment (``WSGI_SESSIONS_URL``). The session is committed by a tween around all others: an
    exception, and a response of 500 or more, store nothing; each attempt of ``pyramid_retry``
    begins anew; a store that does not answer is a 503, unless the application has an exception view
    for `StoreUnavailable`. What ``SessionAuthenticationHelper`` remembers is the session's
    principal, and gives it a new id.

    Where `wsgi_sessions.build` or `from_env` wraps the application besides, the session is theirs.
    Raises ConfigurationError.
    """
    registry = config.registry
    registry.wsgi_sessions = _Opened(config_of(config))
    config.set_session_factory(_session_of)
    config.add_tween(_TWEEN, under=import_module("pyramid.tweens").INGRESS)
    if importlib.util.find_spec("pyramid_retry") is not None:
        config.add_subscriber(_forget_attempt, "pyramid_retry.IBeforeRetry")
    interfaces = import_module("pyramid.interfaces")
    import_module("zope.interface").classImplements(PyramidSession, interfaces.ISession)


def manager(registry: Any) -> SessionManager:
    """To find and end sessions, as in ``manager(request.registry).destroy_sessions_of("alice")``.

    Raises ConfigurationError.
    """
    return _stack_of(registry).manager


def config_of(config: Any) -> Config:
    """The configuration of a Pyramid application. Raises ConfigurationError."""
    given = {
        f"WSGI_SESSIONS_{name.removeprefix(_PREFIX).upper()}": str(value)
        for name, value in config.get_settings().items()
        if name.startswith(_PREFIX)
    }
    variables = {"WSGI_SESSIONS_PRINCIPAL_KEY": _PRINCIPAL_KEY, **os.environ, **given}
    return config_named(variables, _application_of(config))


def tween_factory(handler: Any, registry: Any) -> SessionTween:
    """Called by Pyramid."""
    return SessionTween(handler, registry.wsgi_sessions.stack)


class _Opened:
    """The stack of one application, opened on use: not before its workers are forked."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack: Stack | None = None

    def stack(self) -> Stack:
        if self._stack is None:
            self._stack = build(_no_application, self._config)
        self._stack.opened.ensure_running()
        return self._stack

    def close(self) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()


def _stack_of(registry: Any) -> Stack:
    opened: _Opened = registry.wsgi_sessions
    return opened.stack()


def _session_of(request: Any) -> PyramidSession:
    """Called by Pyramid: its session factory."""
    transaction: Transaction | None = request.environ.get(TRANSACTION_KEY)
    if transaction is None or transaction.phase is Phase.ENDED:  # a subrequest, or a script
        tween = SessionTween(None, request.registry.wsgi_sessions.stack)
        transaction = tween.begin_without_tweens(request)
    return PyramidSession(transaction)


def _forget_attempt(event: Any) -> None:
    """Called by ``pyramid_retry``: the next attempt finds the session as it is stored."""
    transaction: Transaction | None = event.environ.get(TRANSACTION_KEY)
    if transaction is not None and transaction.phase is not Phase.ENDED:
        transaction.discard()


def _application_of(config: Any) -> Application:
    package = getattr(config.root_package, "__name__", "pyramid")
    file = getattr(sys.modules.get(package), "__file__", None)
    return named_after(project_path(file or f"{os.getcwd()}/{package}"))


def _no_application(_environ: Any, _start_response: Any) -> Iterable[bytes]:
    raise RuntimeError("the application is Pyramid's, and is not called by the stack")
