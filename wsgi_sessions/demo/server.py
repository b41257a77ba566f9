"""Runs the demonstration under gunicorn, in the foreground, and leaves nothing behind."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import click
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from wsgi_sessions.contexts.settings import ContextConfig
from wsgi_sessions.demo.app import make_application
from wsgi_sessions.demo.cards.freshness import SCOPE
from wsgi_sessions.demo.database import Database
from wsgi_sessions.demo.deals import KEY
from wsgi_sessions.demo.keepalive import INTERVAL
from wsgi_sessions.demo.naive import NaiveSessions
from wsgi_sessions.demo.outage import Outage
from wsgi_sessions.demo.page import Setup
from wsgi_sessions.demo.teams import LOADED
from wsgi_sessions.demo.workers import Workers
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy
from wsgi_sessions.identity import new_secret
from wsgi_sessions.listening import Address, listen, listen_near
from wsgi_sessions.refresh.settings import RefreshConfig
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.versions.settings import VersionConfig

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from _typeshed.wsgi import WSGIApplication

THREADS = 4
_KEY_PREFIX = "demo-session:"


DEFAULT_ADDRESS = Address("127.0.0.1", 8000)


@dataclass(frozen=True)
class Plan:
    """The options of the server: `store` is a URL, or None for a temporary folder."""

    store: str | None
    worker_class: str
    workers: int


def serve(plan: Plan, address: Address | None) -> NoReturn:
    """Serve until SIGINT, SIGTERM or SIGHUP; then exit.

    Without an `address`, it listens on the first free port from 8000 on. Raises ConfigurationError,
    StoreUnavailable and CannotListen before anything is started.
    """
    with exit_at_sigterm(), temporary_folder() as folder:
        config, setup = _configure(plan, folder)
        listener = listen_near(DEFAULT_ADDRESS) if address is None else listen(address)
        greeting = _greeting(listener, address or DEFAULT_ADDRESS, setup)
        Server(config, setup, folder, listener, greeting).run()
    raise SystemExit(0)


@contextmanager
def exit_at_sigterm() -> Iterator[None]:
    """Exit cleanly, also before gunicorn has set its own handlers."""

    def leave(*_: object) -> NoReturn:
        raise SystemExit(0)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Provide a folder that the process that created it removes.

    No other process removes it: gunicorn's workers are forks and also pass here when they exit.
    """
    folder, owner = tempfile.mkdtemp(prefix="wsgi-sessions-demo-"), os.getpid()
    try:
        yield folder
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn on a listening socket. Each worker builds its own application."""

    def __init__(
        self, config: Config, setup: Setup, folder: str, listener: socket.socket, greeting: str
    ) -> None:
        self._config = config
        self._setup = setup
        self._folder = folder
        self._listener = listener
        self._greeting = greeting
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn. Settings unknown to an older gunicorn are left out."""
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "workers": self._setup.workers,
            "worker_class": self._setup.worker_class,
            "threads": THREADS if self._setup.worker_class == "gthread" else 1,
            "keepalive": 0,  # otherwise a browser stays with its first worker
            "graceful_timeout": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": self._ready,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Called by gunicorn, in each worker."""
        logging.getLogger("wsgi_sessions").addFilter(_is_news)
        naive, database = NaiveSessions(self._folder), Database(self._folder)
        workers, outage = Workers(database), Outage(self._folder)
        workers.enter()
        return make_application(self._config, self._setup, naive, database, workers, outage)

    def _ready(self, _arbiter: object) -> None:
        # Closing the terminal ends the demonstration; gunicorn would reload and stay.
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        click.echo(self._greeting)


def _configure(plan: Plan, folder: str) -> tuple[Config, Setup]:
    """Return the configuration, after a check of the store. The environment is not used."""
    url = plan.store or f"file://{quote(folder)}/sessions"
    backend = open_backend(url, key_prefix=_KEY_PREFIX)
    try:
        backend.sessions.ping()
        if backend.versions is not None:
            # The database of the demonstration is new: sessions built from a former one are stale.
            backend.versions.bump(SCOPE)
    finally:
        backend.close()  # before the fork: each worker opens its own
    if backend.name == "memory" and plan.workers > 1:
        raise ConfigurationError("memory:// is not shared by processes: add --workers 1")
    # The file store keeps its own secret. For other stores, workers get it through the fork.
    config = _config(url, () if backend.secret else (new_secret(),))
    return config, Setup(backend.name, plan.worker_class, plan.workers)


def _config(url: str, secrets: tuple[str, ...]) -> Config:
    return Config(
        url=url,
        secret_keys=secrets,
        idle_lifetime=3600.0,
        label_devices=True,
        cookie=CookiePolicy(name="demo_session"),
        key_prefix=_KEY_PREFIX,
        # With a copy of versions that is never reused, the very next page load is fresh.
        version=VersionConfig(scopes=(SCOPE,), required=LOADED, max_age=0.0, login_url="/"),
        context=ContextConfig(key=(KEY,), remember="selected"),
        refresh=RefreshConfig(interval=INTERVAL),
    )


def _greeting(listener: socket.socket, wanted: Address, setup: Setup) -> str:
    address = Address(*listener.getsockname()[:2])
    is_moved = wanted.port not in (0, address.port)
    why = f" (port {wanted.port} is in use)" if is_moved else ""
    return (
        f"Open http://{address}/{why} - {setup} of class {setup.worker_class}, "
        f"sessions in the {setup.store} store. Ctrl+C stops it."
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a record is worth showing: plain http is expected here."""
    return getattr(record, "session_event", None) != "insecure"
