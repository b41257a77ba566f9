"""Commands that run until they are stopped: the demonstration, the console, top, the refresher."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from msgspec import to_builtins

from wsgi_sessions.cli.application import has_come, in_store
from wsgi_sessions.cli.output import json_option, print_json
from wsgi_sessions.cli.shell import open_told, read_config, require, url_option
from wsgi_sessions.cli.target import app_option
from wsgi_sessions.console.numbers.collected import collect
from wsgi_sessions.console.scrape import MetricsPath
from wsgi_sessions.console.view import View
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.listening import Address
from wsgi_sessions.stack.sessions import open_refresher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stack.config import Config

_LOOK_SECONDS = 0.5
_NAME_SECONDS = 3.0
_metrics_option = click.option(
    "--metrics", metavar="URL", help="The metrics of a running server, for conflicts by key."
)


@click.command()
@click.option("--store", metavar="URL", help="The session store.  [default: temporary files]")
@click.option(
    "--bind", metavar="HOST:PORT", help=("[default: 127.0.0.1, the first free port from 8000]")
)
@click.option(
    "--worker-class",
    type=click.Choice(["sync", "gthread", "gevent"]),
    default="gthread",
    show_default=True,
)
@click.option("--workers", type=click.IntRange(1, 32), default=3, show_default=True)
def demo(store: str | None, bind: str | None, worker_class: str, workers: int) -> None:
    """Serve a page where workers share one session.

    Ignores settings in the environment and leaves an application's own sessions alone.
    """
    require("gunicorn")
    if worker_class == "gevent":
        require("gevent")
    from wsgi_sessions.demo.server import Plan, serve  # needs gunicorn

    address = None if bind is None else Address.parse(bind)
    serve(Plan(store, worker_class, workers), address)


@click.command()
@click.option(
    "--bind", metavar="HOST:PORT", help="[default: 127.0.0.1, the first free port from 8100]"
)
@_metrics_option
@click.option("--allow-revoke", is_flag=True, help="Let the page end sessions of a user.")
@url_option
def console(bind: str | None, metrics: str | None, url: str | None, *, allow_revoke: bool) -> None:
    """Serve a page for operators, until Ctrl+C.

    The printed URL has a token; without it, nothing is shown. The page changes nothing, unless
    --allow-revoke is given.
    """
    require("gunicorn")
    from wsgi_sessions.console.server import serve  # needs gunicorn

    address = None if bind is None else Address.parse(bind)
    with _looked_at(url, metrics) as view:
        config, path = view.config, view.metrics
    serve(config, address, path, may_revoke=allow_revoke)


@click.command()
@_metrics_option
@click.option(
    "--every",
    type=click.FloatRange(1, 3600),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="The time from one look to the next.",
)
@click.option("--once", is_flag=True, help="Print them once, and end.")
@url_option
@json_option
def top(metrics: str | None, every: float, url: str | None, *, once: bool, as_json: bool) -> None:
    """Show the console's numbers in the terminal, until q.

    Changes nothing. With --json, prints the numbers once.
    """
    with _looked_at(url, metrics) as view:
        if as_json:
            told = {name: to_builtins(numbers) for name, numbers in collect(view).items()}
            print_json({"at": view.clock(), **told})
            return
        require("rich")
        from wsgi_sessions.console.terminal.watch import print_once, watch  # needs rich

        if once:
            print_once(view)
        else:
            signal.signal(signal.SIGTERM, _exit)  # which leaves the terminal as it was
            watch(view, every)


@contextmanager
def _looked_at(url: str | None, metrics: str | None) -> Iterator[View]:
    """Provide a view of a store that answers, for the console's numbers. Nothing in it changes.

    Raises ConfigurationError and StoreUnavailable.
    """
    config = read_config(url)
    path = None if metrics is None else MetricsPath(metrics, config.health.token)
    config, backend = open_told(config, "look")
    try:
        if backend.name == "memory":
            raise ConfigurationError(
                "sessions in memory:// are visible only to their own process: name the store of "
                "the application with --url or WSGI_SESSIONS_URL"
            )
        backend.sessions.ping()  # report a wrong address before anything is shown
        yield View(backend, config, path)
    finally:
        backend.close()


@click.command()
@app_option
def refresh() -> None:
    """Refresh sessions until SIGTERM or SIGINT.

    Calls the function named by WSGI_SESSIONS_REFRESH. Set WSGI_SESSIONS_REFRESH_IN=process so that
    workers leave refreshing to this process.
    """
    sys.path.insert(0, os.getcwd())  # where servers also find the application
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    config = read_config()
    while True:
        config = in_store(config)
        _refresh(config)


def _refresh(config: Config) -> None:
    """Refresh the sessions of the named application; without a name, wait for one to appear in the
    store: this process may start before its first session."""
    refresher, backend = open_refresher(config)
    try:
        backend.sessions.ping()  # report a wrong address at the start
        # In a thread: a signal handler must not touch the locks that this thread waits on.
        refresher.ensure_running()
        # Not signal.pause(), which keeps sleeping if the signal came just before it.
        time.sleep(_LOOK_SECONDS)
        while config.application is not None or not has_come(config):
            time.sleep(_LOOK_SECONDS if config.application is not None else _NAME_SECONDS)
    finally:
        refresher.close()
        backend.close()


def _exit(_number: int, _frame: object) -> None:
    raise SystemExit(0)
