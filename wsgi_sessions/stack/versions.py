"""Build the version middleware from settings and hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.page_load import is_page_load
from wsgi_sessions.stack.config import naming_variables
from wsgi_sessions.stack.hooks import load_hook
from wsgi_sessions.stores.urls import is_sql_url, is_store_url, open_backend
from wsgi_sessions.versions.middleware import VersionMiddleware
from wsgi_sessions.versions.settings import OWN_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from wsgi_sessions.contract import Backend, VersionStamps
    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks

    Judge = Callable[[WSGIEnvironment, Transaction], None]

_HOOKS = ("version_refresh", "version_validate", "version_scopes", "version_applies", "versions")


def with_versions(
    app: WSGIApplication, config: Config, manager: SessionManager, hooks: Hooks
) -> tuple[WSGIApplication, Backend | None, Judge | None]:
    """Wrap the application in a VersionMiddleware, if a setting or hook asks for one. Return it,
    the backend opened only for its stamps (to be closed at the end), and `VersionMiddleware.judge`.

    Raises ConfigurationError.
    """
    if not config.version.is_on and all(hooks.get(name) is None for name in _HOOKS):
        return app, None, None
    given, opened = hooks.get("versions"), None
    if given is None:
        given, opened = open_versions(config, manager.backend)
    middleware = VersionMiddleware(
        app,
        given,
        scopes=hooks.get("version_scopes") or config.version.scopes or ("global",),
        refresh=_hook(hooks.get("version_refresh"), config.version.refresh, "REFRESH"),
        validate=_hook(hooks.get("version_validate"), config.version.validate, "VALIDATE"),
        rights=config.version.rights,
        grace=config.version.grace,
        required=config.version.required,
        principal_key=config.principal_key,
        login_url=config.version.login_url,
        applies=hooks.get("version_applies") or is_page_load,
        max_age=config.version.max_age,
        events=manager.events,
    )
    return middleware, opened, middleware.judge


@naming_variables()
def open_versions(config: Config, backend: Backend) -> tuple[VersionStamps, Backend | None]:
    """Return the version stamps, from `backend` unless the configuration names another place; and
    the backend opened for them, if it is another one. Raises ConfigurationError."""
    url, opened = config.version.url, None
    if url is not None and (is_sql_url(url) or not is_store_url(url)):
        return _open_sql(url, config), None
    if url is not None and url != config.url:
        backend = opened = open_backend(url, key_prefix=config.key_prefix, timeout=config.timeout)
    if backend.versions is None:
        raise ConfigurationError(
            f"the {backend.name} store keeps no version stamps: name a place for them in "
            "WSGI_SESSIONS_VERSION_URL"
        )
    return backend.versions, opened


def _open_sql(url: str, config: Config) -> VersionStamps:
    from dataclasses import replace

    from wsgi_sessions.database.bump import open_sql_versions
    from wsgi_sessions.database.version_table import SYSTEM_SETTINGS, VersionTable

    name = config.version.table
    table = VersionTable() if name == OWN_TABLE else replace(SYSTEM_SETTINGS, name=name)
    return open_sql_versions(url, timeout=config.timeout, table=table)


def _hook(given: Any, path: str | None, name: str) -> Any:
    if given is None and path is not None:
        return load_hook(path, f"WSGI_SESSIONS_VERSION_{name}")
    return given
