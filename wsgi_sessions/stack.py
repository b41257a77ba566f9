"""The composition root: from a configuration to a wrapped application. It alone knows all parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.commit import Lifetimes
from wsgi_sessions.config import Config
from wsgi_sessions.cookies import SessionCookie
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.events import Event, Events
from wsgi_sessions.health import fingerprint
from wsgi_sessions.hooks import load_hook, require_known
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.identity_rules import IdentityRules
from wsgi_sessions.leases import LeasePolicy, Leases
from wsgi_sessions.manager import SessionManager
from wsgi_sessions.middleware.health import HealthMiddleware
from wsgi_sessions.middleware.lease import LeaseMiddleware
from wsgi_sessions.middleware.session import SessionMiddleware
from wsgi_sessions.pseudonyms import Pseudonyms
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack_parts.contexts import with_contexts
from wsgi_sessions.stack_parts.imports import adoption_of
from wsgi_sessions.stack_parts.store import open_store
from wsgi_sessions.stack_parts.versions import with_versions
from wsgi_sessions.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

    from wsgi_sessions.contexts import ContextPolicy
    from wsgi_sessions.hooks import Hooks
    from wsgi_sessions.session import Session
    from wsgi_sessions.stores.base import Backend


def from_env(app: WSGIApplication, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as the environment's ``WSGI_SESSIONS_…`` variables say.

    Raises ConfigurationError, naming every variable that is wrong. A store that is named alone is
    not asked before the first request: an application starts while its Redis does not. Of several,
    the first healthy one is found out here, once for all workers (`open_chosen`).
    """
    return build(app, Config.from_environ(os.environ), **hooks)


def build(app: WSGIApplication, config: Config, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as a configuration says. Raises ConfigurationError.

    Hooks are given here, or named in the configuration.
    """
    require_known(hooks)
    _require_secrets(config)
    config, backend = open_store(config)
    sweeper = None
    if config.sweep_interval is not None:
        sweeper = Sweeper(backend, interval=config.sweep_interval, max_sessions=config.max_sessions)
    secrets = _secrets(config, backend)
    events = Events(_hooks(sweeper, hooks.get("on_event")), Pseudonyms(secrets[-1]))
    manager = open_manager(config, backend, events)
    app, contexts = with_contexts(app, config.context, manager, hooks)
    app, stamps = with_versions(app, config, manager, hooks)
    leases, refresher = _refreshing(config, manager, hooks.get("refresh"))
    if leases is not None:
        app = LeaseMiddleware(app, leases)
    cookie = SessionCookie(config.cookie, IdSigner(secrets))
    adoption = adoption_of(config, manager)
    sessions = SessionMiddleware(
        app,
        manager,
        cookie,
        exclusive_paths=config.exclusive_paths,
        adoption=adoption,
        busy_status=config.busy_status,
    )
    # Bound once: calling an object itself takes twice as long, and every request does.
    app = _with_health(sessions.__call__, config, backend, secrets)
    return Stack(app, sessions, config, sweeper, refresher, leases, contexts, stamps)


def open_refresher(
    config: Config, *, refresh: Callable[[Session], object] | None = None
) -> tuple[Refresher, Backend]:
    """A refresher for a process of its own, and the backend to close at its end.

    Raises ConfigurationError.
    """
    config, backend = open_store(config)
    return _refresher(config, open_manager(config, backend), refresh), backend


class Stack:
    """A wrapped application, with the parts that it is made of."""

    def __init__(
        self,
        app: WSGIApplication,
        sessions: SessionMiddleware,
        config: Config,
        sweeper: Sweeper | None = None,
        refresher: Refresher | None = None,
        leases: Leases | None = None,
        contexts: Mapping[str, ContextPolicy] | None = None,
        stamps: Backend | None = None,
    ) -> None:
        self._app = app
        self.sessions = sessions
        self.manager = sessions.manager
        self.config = config
        self.leases = leases
        self.contexts = dict(contexts or {})
        self._sweeper = sweeper
        self._refresher = refresher
        self._stamps = stamps

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        if self._sweeper is not None:
            self._sweeper.ensure_running()
        if self._refresher is not None:
            self._refresher.ensure_running()
        return self._app(environ, start_response)

    def change_cookie(self, config: Config) -> None:
        """Read and write cookies as another configuration says, from the next request on.

        Raises ConfigurationError.
        """
        signer = IdSigner(_secrets(config, self.manager.backend))
        self.sessions.cookie = SessionCookie(config.cookie, signer)

    def close(self) -> None:
        """Stop the sweeper and the refresher, close the store's connections."""
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._refresher is not None:
            self._refresher.close()
        if self.leases is not None:
            self.leases.close()
        if self._stamps is not None:
            self._stamps.close()
        if self.sessions.adoption is not None:
            self.sessions.adoption.close()
        self.manager.backend.close()


def _with_health(
    app: WSGIApplication, config: Config, backend: Backend, secrets: Sequence[str]
) -> WSGIApplication:
    if config.health_path is None and config.liveness_path is None:
        return app
    return HealthMiddleware(
        app,
        backend,
        path=config.health_path,
        liveness=config.liveness_path,
        timeout=config.health_timeout,
        fingerprints=[fingerprint(secret) for secret in secrets],
    ).__call__


def open_manager(config: Config, backend: Backend, events: Events | None = None) -> SessionManager:
    """The sessions on a backend, by the rules of a configuration."""
    return SessionManager(
        backend,
        lifetimes=Lifetimes(config.idle_lifetime, config.absolute_lifetime),
        events=events,
        on_conflict=config.on_conflict,
        identity=IdentityRules(
            config.principal_key,
            config.privilege_keys,
            config.confirming_keys,
            login_keys=config.login_keys or (),
            login_drops=config.login_drops or (),
        ),
        max_size=config.max_size,
        wait=config.exclusive_wait,
        waiters=config.exclusive_waiters,
    )


def _refreshing(
    config: Config, manager: SessionManager, refresh: Callable[[Session], object] | None
) -> tuple[Leases | None, Refresher | None]:
    """Requests hold leases where somebody refreshes, be it these workers or a process apart."""
    if refresh is None and config.refresh is None:
        return None, None
    leases = Leases(manager.backend, LeasePolicy(ttl=config.lease_ttl))
    if config.refresh_in == "process":
        return leases, None
    return leases, _refresher(config, manager, refresh)


def _refresher(
    config: Config, manager: SessionManager, refresh: Callable[[Session], object] | None
) -> Refresher:
    if refresh is None and config.refresh is None:
        raise ConfigurationError(
            "WSGI_SESSIONS_REFRESH is not set: name a function to refresh with"
        )
    return Refresher(
        manager,
        refresh or load_hook(str(config.refresh), "WSGI_SESSIONS_REFRESH"),
        interval=config.refresh_interval,
        ttl=config.lease_ttl,
    )


def _hooks(
    sweeper: Sweeper | None, on_event: Callable[[Event], object] | None
) -> Callable[[Event], object] | None:
    if sweeper is None:
        return on_event

    def hook(event: Event) -> None:
        if event.name in ("created", "imported"):
            sweeper.note_created()
        if on_event is not None:
            on_event(event)

    return hook


def _require_secrets(config: Config) -> None:
    if len(config.urls) > 1 and not config.secret_keys:
        raise ConfigurationError(
            "WSGI_SESSIONS_SECRET_KEYS is not set: of several session stores, not all keep a "
            f"secret themselves ({', '.join(map(hide_credentials, config.urls))}); make one with "
            "'wsgi-sessions keygen'"
        )


def _secrets(config: Config, backend: Backend) -> tuple[str, ...]:
    if config.secret_keys:
        return config.secret_keys
    if backend.secret is not None:
        return (backend.secret.secret(),)
    raise ConfigurationError(
        "WSGI_SESSIONS_SECRET_KEYS is not set: sessions outside of a file store need a secret that "
        "all workers share, and so do those that are taken over; make one with 'wsgi-sessions "
        "keygen', or name the file 'secret' in the folder of the file store that was used before "
        "in WSGI_SESSIONS_SECRET_KEYS_FILE"
    )
