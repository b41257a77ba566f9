"""The composition root: from a configuration to a wrapped application. It alone knows all parts."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.limits.anonymous import AnonymousRules
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.health.checker import fingerprint
from wsgi_sessions.health.middleware import HealthMiddleware
from wsgi_sessions.http.cookies.session_cookie import SessionCookie
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.leases.middleware import LeaseMiddleware
from wsgi_sessions.leases.policy import LeasePolicy, Leases
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.applications import config_for
from wsgi_sessions.stack.config import naming_variables, with_variables
from wsgi_sessions.stack.contexts import with_contexts
from wsgi_sessions.stack.declared.store import APPLICATION
from wsgi_sessions.stack.hooks import load_hook, require_known
from wsgi_sessions.stack.imports import adoption_of
from wsgi_sessions.stack.places import place_of
from wsgi_sessions.stack.secrets import secrets_of
from wsgi_sessions.stack.store import open_store
from wsgi_sessions.stack.versions import with_versions
from wsgi_sessions.stores.named import NamedIndex
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from typing_extensions import Unpack

    from wsgi_sessions.contexts.policy import ContextPolicy
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.http.answers import OnUnavailable
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks


_log = texts.log(__name__)


def from_env(app: WSGIApplication, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as the environment's ``WSGI_SESSIONS_…`` variables say.

    Raises ConfigurationError, naming every variable that is wrong. A store that is named alone is
    not asked before the first request: an application starts while its Redis does not. Of several,
    the first healthy one is found out here, once for all workers (`open_chosen`).

    The application keeps apart from all others by its name: see `wsgi_sessions.stack.applications`.
    """
    config = config_for(app, os.environ, sys._getframe(1))  # noqa: SLF001  # the module that calls
    return build(app, config, **hooks)


@naming_variables()
def build(app: WSGIApplication, config: Config, **hooks: Unpack[Hooks]) -> Stack:
    """Wrap an application as a configuration says. Raises ConfigurationError.

    Hooks are given here, or named in the configuration.
    """
    require_known(hooks)
    for remark in config.remarks:
        _log.warning("%s", remark)
    _require_secrets(config)
    config, backend = open_store(config)
    sweeper = _sweeping(config, backend)
    secrets = secrets_of(config, backend)
    _say_which(config, backend)
    events = Events(_hooks(sweeper, hooks.get("on_event")), Pseudonyms(secrets[-1]), with_variables)
    manager = open_manager(config, backend, events)
    app, contexts = with_contexts(app, config.context, manager, hooks)
    app, stamps, judge = with_versions(app, config, manager, hooks)
    leases, refresher = _refreshing(config, manager, hooks.get("refresh"))
    if leases is not None:
        app = LeaseMiddleware(app, leases)
    cookie = SessionCookie(config.cookie, _signer(secrets, config))
    sessions = SessionMiddleware(
        app,
        manager,
        cookie,
        exclusive_paths=config.exclusive_paths,
        adoption=adoption_of(config, manager),
        busy_status=config.busy_status,
        on_unavailable=outage_page(config, hooks),
        login_cookies=config.login_cookies,
        early_cookie=config.early_cookie,
        retry_token_header=config.retry_token_header,
        when_opened=judge,
    )
    # Bound once: calling an object itself takes twice as long, and every request does.
    app = _with_health(sessions.__call__, config, backend, secrets)
    return Stack(app, sessions, config, sweeper, refresher, leases, contexts, stamps)


def _sweeping(config: Config, backend: Backend) -> Sweeper | None:
    if config.sweep_interval is None:
        return None
    return Sweeper(backend, interval=config.sweep_interval, max_sessions=config.max_sessions)


@naming_variables()
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
        signer = _signer(secrets_of(config, self.manager.backend), config)
        self.sessions.cookie = SessionCookie(config.cookie, signer)

    def close(self) -> None:
        """Stop the sweeper and the refresher, close the store's connections."""
        if self._sweeper is not None:
            self._sweeper.close()
        if self._refresher is not None:
            self._refresher.close()
        if self.leases is not None:
            self.leases.close()
        if self._stamps is not None:
            self._stamps.close()
        if self.sessions.adoption is not None:
            self.sessions.adoption.close()
        self.manager.backend.close()


def _signer(secrets: Sequence[str], config: Config) -> IdSigner:
    """A derived name goes on with what the application signed before it had one; whoever sets a
    name means to keep apart."""
    return IdSigner(secrets, config.application, accepts_unnamed=config.has_derived_name)


def _say_which(config: Config, backend: Backend) -> None:
    """What was chosen for an application with a name, and why; and whether it is alone there."""
    if config.application is None:
        return
    _log.info(
        "sessions of application %s (%s) are kept in %s",
        config.application,
        config.sources.get(APPLICATION, "argument"),
        hide_credentials(config.url),
    )
    if backend.name == "file":  # a server is asked nothing before the first request
        _say_who_else(config, backend)


def _say_who_else(config: Config, backend: Backend) -> None:
    """Whether other applications use a folder, which have told so at their start."""
    if not isinstance(backend.index, NamedIndex) or backend.tenants is None:
        return
    try:
        backend.index.note()
        others = [name for name in backend.tenants.names() if name != config.application]
    except StoreUnavailable as error:
        _log.warning(
            "the applications in %s cannot be told: %s", hide_credentials(config.url), error
        )
        return
    if others:
        _log.warning(
            "%s is used by other applications too (%s): each has sessions and users of its own, "
            "but one sweep, one set of version stamps and, if none is set, one secret serve all; "
            "name a folder of its own for each, or one name for all in %s",
            hide_credentials(config.url),
            ", ".join(others),
            APPLICATION,
        )


def outage_page(config: Config, hooks: Hooks) -> OnUnavailable | None:
    """The application's own answer in an outage, given or named. Raises ConfigurationError."""
    given = hooks.get("on_unavailable")
    if given is None and config.on_unavailable is not None:
        given = load_hook(config.on_unavailable, "WSGI_SESSIONS_ON_UNAVAILABLE")
    return given


def _with_health(
    app: WSGIApplication, config: Config, backend: Backend, secrets: Sequence[str]
) -> WSGIApplication:
    health = config.health
    if health.path is None and health.liveness_path is None:
        return app
    return HealthMiddleware(
        app,
        backend,
        path=health.path,
        liveness=health.liveness_path,
        timeout=health.timeout,
        fingerprints=[fingerprint(secret) for secret in secrets],
        place=place_of(config),
        details=health.details,
        token=health.token,
    ).__call__


def lifetimes_of(config: Config) -> Lifetimes:
    """How long sessions live, by the rules of a configuration."""
    named = (config.principal_key, *(config.login_keys or ()))
    return Lifetimes(
        config.idle_lifetime,
        config.absolute_lifetime,
        AnonymousRules(
            config.anonymous_idle_lifetime,
            config.anonymous_max_size,
            tuple(key for key in named if key is not None),
        ),
    )


def open_manager(config: Config, backend: Backend, events: Events | None = None) -> SessionManager:
    """The sessions on a backend, by the rules of a configuration."""
    return SessionManager(
        backend,
        lifetimes=lifetimes_of(config),
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
        max_sessions=config.max_sessions,
        wait=config.exclusive_wait,
        waiters=config.exclusive_waiters,
    )


def _refreshing(
    config: Config, manager: SessionManager, refresh: Callable[[Session], object] | None
) -> tuple[Leases | None, Refresher | None]:
    """Requests hold leases where somebody refreshes, be it these workers or a process apart."""
    if refresh is None and config.refresh.hook is None:
        return None, None
    leases = Leases(manager.backend, LeasePolicy(ttl=config.refresh.lease_ttl))
    if config.refresh.where == "process":
        return leases, None
    return leases, _refresher(config, manager, refresh)


def _refresher(
    config: Config, manager: SessionManager, refresh: Callable[[Session], object] | None
) -> Refresher:
    if refresh is None and config.refresh.hook is None:
        raise ConfigurationError(
            "WSGI_SESSIONS_REFRESH is not set: name a function to refresh with"
        )
    return Refresher(
        manager,
        refresh or load_hook(str(config.refresh.hook), "WSGI_SESSIONS_REFRESH"),
        interval=config.refresh.interval,
        ttl=config.refresh.lease_ttl,
    )


def _hooks(
    sweeper: Sweeper | None, on_event: Callable[[Event], object] | None
) -> Callable[[Event], object] | None:
    if sweeper is None:
        return on_event

    def hook(event: Event) -> None:
        if event.name in ("created", "imported"):
            sweeper.note_created()
        elif event.name == "full":
            sweeper.note_full()
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
