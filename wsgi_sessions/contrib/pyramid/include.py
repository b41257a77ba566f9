"""The inclusion in a Pyramid application, and what its views, jobs and tests ask for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyramid.interfaces import IApplicationCreated, IExecutionPolicy, ISessionFactory

from wsgi_sessions import texts
from wsgi_sessions.contrib.pyramid.served import ServedSessions
from wsgi_sessions.http.environ import TRANSACTION_KEY
from wsgi_sessions.stack.hooks import require_known

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.stack.hooks import Hooks

REGISTRY_KEY = "wsgi_sessions"
_log = texts.log(__name__)


def includeme(config: Any) -> None:
    """Keep the sessions of a Pyramid application::

        config.include("wsgi_sessions.contrib.pyramid")

    ``request.session`` is then a `PyramidSession`, and what `wsgi_sessions.build` makes is around
    the application that ``config.make_wsgi_app()`` returns, outside of all tweens and of
    ``pyramid_retry``: the commit takes place when the headers leave, a response of 500 or more and
    an exception store nothing but a log-out, a store that does not answer is a 503. An attempt that
    is made again begins with the session as it is stored.

    Settings are ``wsgi_sessions.url`` and the like, or the variables of the environment. What is
    wrong with them raises ConfigurationError from ``make_wsgi_app``.
    """
    served = ServedSessions(config.registry, config.root_package)
    config.registry[REGISTRY_KEY] = served
    config.set_session_factory(served)
    config.add_directive("add_session_hooks", add_session_hooks)
    config.registry.registerHandler(_application_created, (IApplicationCreated,))


def add_session_hooks(config: Any, **hooks: Unpack[Hooks]) -> None:
    """Pass hooks of `wsgi_sessions.build`, as ``config.add_session_hooks(on_event=print)``."""
    require_known(hooks)
    served: ServedSessions = config.registry[REGISTRY_KEY]
    served.hooks.update(hooks)


def manager(registry: Any) -> SessionManager:
    """Return what finds and ends sessions of a user.

    As in ``manager(request.registry).destroy_sessions_of(userid)``. Raises LookupError for an
    application without these sessions, and ConfigurationError.
    """
    return served_in(registry).stack().manager


def served_in(registry: Any) -> ServedSessions:
    """Return the sessions of an application. Raises LookupError where it has none."""
    served = registry.get(REGISTRY_KEY) if isinstance(registry, dict) else None
    if isinstance(served, ServedSessions):
        return served
    raise LookupError(
        "the Pyramid application has no sessions of this package: "
        'config.include("wsgi_sessions.contrib.pyramid")'
    )


def _application_created(event: Any) -> None:
    registry = event.app.registry
    served = registry[REGISTRY_KEY]
    if registry.queryUtility(ISessionFactory) is not served:
        _log.warning(
            "the application has a session factory of its own, so that wsgi_sessions.contrib."
            "pyramid is not used: take out set_session_factory or session_factory"
        )
        return
    served.serve(event.app)
    # For another application of this registry, which sends no event to the handler below.
    registry.registerUtility(event.app.execution_policy, IExecutionPolicy)
    if "pyramid_retry" in sys.modules:
        retry = import_module("pyramid_retry")
        registry.registerHandler(_before_retry, (retry.IBeforeRetry,))
    _forget_handler(registry)


def _forget_handler(registry: Any) -> None:
    """Have no handler left: with one, Pyramid makes and sends four events for each request."""
    registry.unregisterHandler(_application_created, (IApplicationCreated,))
    registry.has_listeners = any(True for _ in registry.registeredHandlers())


def _before_retry(event: Any) -> None:
    """Forget what the attempt changed, and read the session again for the next one."""
    transaction: Transaction | None = event.environ.get(TRANSACTION_KEY)
    if transaction is not None and transaction.is_accessed:
        transaction.discard()
        transaction.catch_up()
