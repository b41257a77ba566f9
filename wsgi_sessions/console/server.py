"""Runs the console under gunicorn, in the foreground: one process, some threads, on loopback."""

from __future__ import annotations

import getpass
import ipaddress
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from wsgi_sessions.console.admission import PATH, Admission, new_token
from wsgi_sessions.console.app import Console
from wsgi_sessions.console.revoking import Revoker
from wsgi_sessions.console.view import View
from wsgi_sessions.listening import Address, listen, listen_near
from wsgi_sessions.stack.store import open_store

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.console.scrape import MetricsPath
    from wsgi_sessions.stack.config import Config

DEFAULT_ADDRESS = Address("127.0.0.1", 8100)
_THREADS = 4


def serve(
    config: Config, address: Address | None, metrics: MetricsPath | None, *, may_revoke: bool
) -> NoReturn:
    """Serve until SIGINT, SIGTERM or SIGHUP; then exit. Prints the URL, with its token.

    `config` names one store. Without an `address`, it listens on the first free port from 8100 on.
    Raises CannotListen.
    """
    listener = listen_near(DEFAULT_ADDRESS) if address is None else listen(address)
    ConsoleServer(config, listener, new_token(), metrics, may_revoke=may_revoke).run()
    raise SystemExit(0)


class ConsoleServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn on a listening socket. Its one worker opens the store, to look."""

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        token: str,
        metrics: MetricsPath | None = None,
        *,
        may_revoke: bool,
    ) -> None:
        self._metrics = metrics
        self._config = replace(config, sql_schema="require")
        self._listener = listener
        self._token = token
        self._may_revoke = may_revoke
        self._address = Address(*listener.getsockname()[:2])
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn. Settings unknown to an older gunicorn are left out."""
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener.detach()}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": _THREADS,
            "graceful_timeout": 2,
            "loglevel": "warning",
            "control_socket_disable": True,
            "when_ready": self._ready,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        """Called by gunicorn, in the worker."""
        view = View(open_store(self._config, "look").backend, self._config, self._metrics)
        return Console(view, Admission(self._token), self._revoker() if self._may_revoke else None)

    def _revoker(self) -> Revoker:
        def open_backend() -> Any:
            return open_store(self._config, "change").backend

        return Revoker(self._config, open_backend, f"wsgi-sessions console by {_user()}")

    def _ready(self, _arbiter: object) -> None:
        # Closing the terminal ends the console; gunicorn would reload and stay.
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        click.echo(greeting(self._address, self._token, may_revoke=self._may_revoke))
        if not _is_loopback(self._address.host):
            click.echo(
                f"warning: {self._address.host} is reached from other machines, by plain http: "
                "anyone who reads the traffic sees the token; listen on 127.0.0.1, and use ssh -L",
                err=True,
            )


def greeting(address: Address, token: str, *, may_revoke: bool) -> str:
    """Return what the command prints when it listens."""
    mode = "it may end sessions" if may_revoke else "read-only"
    return f"Open http://{address}{PATH}/?token={token} - {mode}. Ctrl+C stops it."


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _user() -> str:
    """Return the user of the system who started the console."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"user id {os.getuid()}"
