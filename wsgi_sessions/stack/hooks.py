"""The application's functions that this package calls: passed as arguments, or named."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict

from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.contexts.audit import AuditRecord
    from wsgi_sessions.contexts.permissions import MayAccess
    from wsgi_sessions.contexts.policy import Load, Store
    from wsgi_sessions.core.events import Event
    from wsgi_sessions.core.merge.policies import MergeFunction, MergePolicy
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.http.answers import OnUnavailable
    from wsgi_sessions.versions.policy import ScopeFunction, StampSource
    from wsgi_sessions.versions.visit import Refresh, Validate


class Hooks(TypedDict, total=False):
    """The keyword arguments of `build` and `from_env`; each takes precedence over its setting.

    `on_event`: see `Events`. `merge`: see `MergeRules`; its patterns come before those of the
    setting. `on_unavailable`: see `SessionMiddleware`. `refresh`: see `Refresher`. `may_access`,
    for several keys a mapping of them: see `ContextPolicy`. `in_tenant`: see
    `TenantPermission`. `load_context` and `store_context`: see `ApplicationContexts`. `on_audit`:
    see `Audit`. `version_refresh`, `version_validate`, `version_scopes`, `version_applies` and
    `versions` (where stamps come from): see `VersionMiddleware`.
    """

    on_event: Callable[[Event], object] | None
    merge: Mapping[str, MergePolicy | MergeFunction] | None
    on_unavailable: OnUnavailable | None
    refresh: Callable[[Session], object] | None
    may_access: MayAccess | Mapping[str, MayAccess] | None
    in_tenant: MayAccess | None
    load_context: Load | None
    store_context: Store | None
    on_audit: Callable[[AuditRecord], object] | None
    version_refresh: Refresh | None
    version_validate: Validate | None
    version_scopes: tuple[str, ...] | ScopeFunction | None
    version_applies: Callable[[WSGIEnvironment], bool] | None
    versions: StampSource | None


def require_known(hooks: Hooks) -> None:
    """Raise TypeError for an unknown hook, as a function's signature would."""
    unknown = hooks.keys() - Hooks.__annotations__.keys()
    if unknown:
        known = ", ".join(Hooks.__annotations__)
        raise TypeError(f"unknown hook {min(unknown)!r}; expected one of {known}")


def load_hook(path: str, variable: str) -> Any:
    """Return the callable at a dotted path; `variable` is the setting with the path.

    Imports the module. Raises ConfigurationError if it cannot be found or is not callable. Any
    other exception during the import is the application's own and passes through.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise _refusal(path, variable, f"there is no module {error.name}") from error
        raise  # raised by an import inside the module
    try:
        hook = attrgetter(attribute)(module)
    except AttributeError as error:
        raise _refusal(path, variable, f"{module_name} has no {attribute}") from error
    if not callable(hook):
        raise _refusal(path, variable, "it is not callable")
    return hook


def _refusal(path: str, variable: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable}={path}: {why}; expected a function, as package.module:function"
    )
