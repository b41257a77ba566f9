"""Configured sessions and everything that serves them, without a wrapped application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.core.commit.loop import Lifetimes
from wsgi_sessions.core.endings.traces import traces_in
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.identity_rules import IdentityRules
from wsgi_sessions.core.jobs import begin, begin_at, committed
from wsgi_sessions.core.limits.anonymous import AnonymousRules
from wsgi_sessions.core.limits.lifetimes import endless
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.http.cookies.session_cookie import SessionCookie
from wsgi_sessions.identity import BareIds, IdSigner
from wsgi_sessions.leases.policy import LeasePolicy, Leases
from wsgi_sessions.metrics.measured import measured
from wsgi_sessions.refresh.refresher import Refresher
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.config import naming_variables, with_variables
from wsgi_sessions.stack.declared.store import APPLICATION
from wsgi_sessions.stack.hooks import load_hook, require_known
from wsgi_sessions.stack.imports import adoption_of
from wsgi_sessions.stack.merging import merge_rules
from wsgi_sessions.stack.secrets import secrets_of
from wsgi_sessions.stack.store import open_store
from wsgi_sessions.stores.named import NamedIndex
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.merge.policies import MergeFunction
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.transaction import Transaction
    from wsgi_sessions.importers.adoption import Adoption
    from wsgi_sessions.metrics.meter import ProcessMeter
    from wsgi_sessions.stack.config import Config
    from wsgi_sessions.stack.hooks import Hooks

_log = texts.log(__name__)


@naming_variables()
def open_sessions(config: Config, **hooks: Unpack[Hooks]) -> Sessions:
    """Open the sessions of a configuration: for jobs, commands, tests and adapters.

    `build` wraps an application in them. Hooks are those of `build`; only `on_event`, `merge` and
    `refresh` matter without an application. Raises ConfigurationError.
    """
    return open_counted(config, hooks, None)


def open_counted(config: Config, hooks: Hooks, meter: ProcessMeter | None) -> Sessions:
    """Like `open_sessions`, and count by `meter` what is done with them."""
    require_known(hooks)
    for remark in config.remarks:
        _log.warning("%s", remark)
    _require_secrets(config)
    config, backend = open_store(config)
    sweeper = _sweeping(config, backend, meter)
    if meter is not None:
        backend = measured(backend, meter)
    secrets = secrets_of(config, backend)
    _say_which(config, backend)
    hook, pseudonyms = _hooks(sweeper, hooks.get("on_event")), Pseudonyms(secrets[-1])
    events = Events(hook, pseudonyms, with_variables, meter)
    manager = open_manager(config, backend, events, hooks.get("merge"))
    if sweeper is not None and manager.endings.traces is not None:
        sweeper.report_to(manager.endings.expired, manager.endings.traces.trim)
    leases, refresher = _refreshing(config, manager, hooks.get("refresh"), meter)
    cookie = SessionCookie(config.cookie, signer_of(secrets, config))
    adoption = adoption_of(config, manager)
    return Sessions(config, manager, secrets, cookie, sweeper, refresher, leases, adoption)


class Sessions:
    """The sessions of one application, without a request of its own::

        sessions = open_sessions(Config.from_environ(os.environ))
        with sessions.job(key) as session:
            session.increment("mails")

    `manager` finds and ends sessions, by user or key; `cookie` reads and writes the session cookie;
    `adoption` takes sessions of another library over. A job sees and makes the same changes as a
    request: they are merged with those of requests that overlap it.
    """

    def __init__(
        self,
        config: Config,
        manager: SessionManager,
        secrets: Sequence[str],
        cookie: SessionCookie,
        sweeper: Sweeper | None = None,
        refresher: Refresher | None = None,
        leases: Leases | None = None,
        adoption: Adoption | None = None,
    ) -> None:
        self.config = config
        self.manager = manager
        self.secrets = secrets
        self.cookie = cookie
        self.sweeper = sweeper
        self.refresher = refresher
        self.leases = leases
        self.adoption = adoption

    def begin(self, session_id: str | None = None, *, route: str = "job") -> Transaction:
        """Begin a transaction on the session of this id, or on a new one. Nothing is read yet.

        Unknown ids are never adopted: they lead to a new session. `commit` stores all changes at
        once, `Transaction.session_id` is the id after that, `close` ends the transaction.
        """
        return begin(self.manager, session_id, route=route)

    def job(self, key: str, *, route: str = "job") -> AbstractContextManager[Session]:
        """Provide a stored session for a block, and commit it at the end.

        `key` is its `Session.key`. The changes are merged with those of overlapping requests. They
        do not count as activity of the user: the session does not live longer. A change that needs
        a cookie, such as a log-in, raises HeadersAlreadySent; a block that raises stores nothing
        but a log-out. Raises LookupError if there is no such session.
        """
        return committed(begin_at(self.manager, key, route=route))

    def ensure_running(self) -> None:
        """Start the sweeper and the refresher in this process if needed, also after a fork."""
        if self.sweeper is not None:
            self.sweeper.ensure_running()
        if self.refresher is not None:
            self.refresher.ensure_running()

    def close(self) -> None:
        """Stop the background threads and close the store's connections."""
        if self.sweeper is not None:
            self.sweeper.close()
        if self.refresher is not None:
            self.refresher.close()
        if self.leases is not None:
            self.leases.close()
        if self.adoption is not None:
            self.adoption.close()
        if self.manager.endings.traces is not None:
            self.manager.endings.traces.close()
        self.manager.backend.close()


@naming_variables()
def open_refresher(
    config: Config, *, refresh: Callable[[Session], object] | None = None
) -> tuple[Refresher, Backend]:
    """Return a refresher for a process of its own, and the backend to close when it ends.

    Raises ConfigurationError.
    """
    config, backend = open_store(config)
    return _refresher(config, open_manager(config, backend), refresh), backend


def signer_of(secrets: Sequence[str], config: Config) -> IdSigner | BareIds:
    """With a derived name, cookies signed before the application had a name stay valid; a name that
    is set means separation."""
    if not config.signs_ids:
        return BareIds()
    return IdSigner(secrets, config.application, accepts_unnamed=config.has_derived_name)


def _say_which(config: Config, backend: Backend) -> None:
    """Log the store of a named application and the reason, and other applications in that store."""
    if config.application is None:
        return
    _log.info(
        "sessions of application %s (%s) are kept in %s",
        config.application,
        config.sources.get(APPLICATION, "argument"),
        hide_credentials(config.url),
    )
    if backend.name == "file":  # a server is not contacted before the first request
        _say_who_else(config, backend)


def _say_who_else(config: Config, backend: Backend) -> None:
    """Warn if other applications use the folder: each one noted itself when it started."""
    if not isinstance(backend.index, NamedIndex) or backend.tenants is None:
        return
    try:
        backend.index.note()
        others = [name for name in backend.tenants.names() if name != config.application]
    except StoreUnavailable as error:
        _log.warning("cannot list the applications in %s: %s", hide_credentials(config.url), error)
        return
    if others:
        _log.warning(
            "%s is used by other applications too (%s): each has its own sessions and users, but "
            "they share the sweep, the version stamps and, if none is set, the secret; give each "
            "a folder of its own, or all the same name in %s",
            hide_credentials(config.url),
            ", ".join(others),
            APPLICATION,
        )


def lifetimes_of(config: Config) -> Lifetimes:
    """Return the lifetimes of sessions in a configuration."""
    named = (config.principal_key, *(config.login_keys or ()))
    return Lifetimes(
        config.idle_lifetime,
        endless(config.absolute_lifetime),
        AnonymousRules(
            config.anonymous_idle_lifetime,
            config.anonymous_max_size,
            tuple(key for key in named if key is not None),
        ),
    )


def open_manager(
    config: Config,
    backend: Backend,
    events: Events | None = None,
    merge: Mapping[str, str | MergeFunction] | None = None,
) -> SessionManager:
    """Return the manager of the sessions on a backend, as configured."""
    return SessionManager(
        backend,
        lifetimes=lifetimes_of(config),
        events=events,
        on_conflict=config.on_conflict,
        merge=merge_rules(config, merge or {}),
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
        traces=traces_in(backend.endings, config.endings_kept),
    )


def _sweeping(config: Config, backend: Backend, meter: ProcessMeter | None) -> Sweeper | None:
    if config.sweep_interval is None:
        return None
    return Sweeper(
        backend, interval=config.sweep_interval, max_sessions=config.max_sessions, gauge=meter
    )


def _refreshing(
    config: Config,
    manager: SessionManager,
    refresh: Callable[[Session], object] | None,
    meter: ProcessMeter | None,
) -> tuple[Leases | None, Refresher | None]:
    """Requests hold leases if sessions are refreshed, in these workers or in another process."""
    if refresh is None and config.refresh.hook is None:
        return None, None
    watch = None if meter is None else meter.leased
    leases = Leases(manager.backend, LeasePolicy(ttl=config.refresh.lease_ttl), watch)
    if config.refresh.where == "process":
        return leases, None
    return leases, _refresher(config, manager, refresh)


def _refresher(
    config: Config, manager: SessionManager, refresh: Callable[[Session], object] | None
) -> Refresher:
    if refresh is None and config.refresh.hook is None:
        raise ConfigurationError(
            "WSGI_SESSIONS_REFRESH is not set: name the function that refreshes"
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
            "WSGI_SESSIONS_SECRET_KEYS is not set: not all of these session stores keep a secret "
            f"themselves ({', '.join(map(hide_credentials, config.urls))}); make one with "
            "'wsgi-sessions keygen'"
        )
