"""Build the context middlewares from settings and hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wsgi_sessions.contexts.audit import Audit
from wsgi_sessions.contexts.middleware import ContextMiddleware
from wsgi_sessions.contexts.permissions import TenantPermission
from wsgi_sessions.contexts.policy import ApplicationContexts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.hooks import load_hook

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.contexts.permissions import MayAccess
    from wsgi_sessions.contexts.policy import ContextPolicy
    from wsgi_sessions.contexts.settings import ContextConfig
    from wsgi_sessions.contract import Backend, ContextStore
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.stack.hooks import Hooks

_PERMISSION = "WSGI_SESSIONS_CONTEXT_PERMISSION"


def with_contexts(
    app: WSGIApplication, config: ContextConfig, manager: SessionManager, hooks: Hooks
) -> tuple[WSGIApplication, dict[str, ContextPolicy]]:
    """Wrap the application in a ContextMiddleware for each key; return it and their policies.

    Raises ConfigurationError if a hook is missing: nothing is restored without permission.
    """
    policies: dict[str, ContextPolicy] = {}
    permissions = _permissions(config, hooks)
    if not permissions:
        return app, policies
    contexts = _contexts(config, manager.backend, hooks)
    audit = Audit(logged=config.audit, hook=hooks.get("on_audit"))
    for key, may_access in permissions.items():
        app = middleware = ContextMiddleware(
            app,
            contexts,
            key,
            _within_tenant(may_access, config, hooks),
            restoring=config.enabled,
            remembering=config.remember,
            events=manager.events,
            audit=audit,
        )
        policies[key] = middleware.policy
    return app, policies


def _permissions(config: ContextConfig, hooks: Hooks) -> dict[str, MayAccess]:
    given = hooks.get("may_access")
    if given is None:
        given = {
            key: load_hook(path, _PERMISSION)
            for key, path in zip(config.key, config.permission, strict=False)
        }
    elif not isinstance(given, Mapping):
        given = dict.fromkeys(config.key, given) if len(config.key) == 1 else {}
    keys = config.key or tuple(given)
    if set(keys) != set(given) or (not keys and hooks.get("may_access") is not None):
        raise ConfigurationError(
            f"WSGI_SESSIONS_CONTEXT_KEY names the keys {', '.join(keys) or '(none)'}, but there "
            f"are permission functions for {', '.join(given) or '(none)'}: name a function for "
            f"each key in {_PERMISSION}, or pass may_access={{key: function}}"
        )
    return {key: given[key] for key in keys}


def _within_tenant(may_access: MayAccess, config: ContextConfig, hooks: Hooks) -> MayAccess:
    in_tenant = hooks.get("in_tenant")
    if in_tenant is None and config.tenant is not None:
        in_tenant = load_hook(config.tenant, "WSGI_SESSIONS_CONTEXT_TENANT")
    if config.tenancy is False or (config.tenancy is None and in_tenant is None):
        return may_access
    if in_tenant is None:
        raise ConfigurationError(
            "USE_MULTI_TENANCY or WSGI_SESSIONS_CONTEXT_TENANCY is on: name the function that "
            "says whether a context belongs to the user's tenant in "
            "WSGI_SESSIONS_CONTEXT_TENANT, or set WSGI_SESSIONS_CONTEXT_TENANCY=off if the "
            "permission function checks the tenant itself"
        )
    return TenantPermission(may_access, in_tenant)


def _contexts(
    config: ContextConfig, backend: Backend, hooks: Hooks
) -> ContextStore | ApplicationContexts:
    load, store = hooks.get("load_context"), hooks.get("store_context")
    if load is None and store is None and config.load and config.store:
        load = load_hook(config.load, "WSGI_SESSIONS_CONTEXT_LOAD")
        store = load_hook(config.store, "WSGI_SESSIONS_CONTEXT_STORE")
    if load is not None and store is not None:
        return ApplicationContexts(load, store)
    if load is not None or store is not None:
        raise ConfigurationError("load_context and store_context go together: pass both")
    if backend.contexts is None:
        raise ConfigurationError(
            f"the {backend.name} store keeps no contexts: set WSGI_SESSIONS_CONTEXT_LOAD and "
            "WSGI_SESSIONS_CONTEXT_STORE"
        )
    return backend.contexts
