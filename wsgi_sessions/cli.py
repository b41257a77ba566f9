"""``wsgi-sessions``: a thin shell, one function per command.

Exit codes: 0 fine; 1 a fault, as when the store is down; 2 wrong usage or configuration.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions import __version__, health
from wsgi_sessions.config import Config
from wsgi_sessions.config_help import describe
from wsgi_sessions.errors import ConfigurationError, SessionError, StoreUnavailable
from wsgi_sessions.health import fingerprint
from wsgi_sessions.identity import new_secret
from wsgi_sessions.stack import open_refresher
from wsgi_sessions.stores.memory_versions import MemoryVersions
from wsgi_sessions.stores.urls import open_backend
from wsgi_sessions.sweeper import Sweeper
from wsgi_sessions.version_stack import open_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.base import Backend, Bump, VersionStamps


class Commands(click.Group):
    """Commands whose errors are a line on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Called by click."""
        try:
            return super().invoke(ctx)
        except SessionError as error:
            is_usage = isinstance(error, ConfigurationError)
            raise (Misconfigured if is_usage else click.ClickException)(str(error)) from error


class Misconfigured(click.ClickException):
    """A fault in what the user gave."""

    exit_code = 2


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="wsgi-sessions")
def main() -> None:
    """Sessions that WSGI workers share."""


@main.command()
@click.option("--store", metavar="URL", help="Where to keep sessions.  [default: temporary files]")
@click.option("--bind", metavar="HOST:PORT", help="[default: 127.0.0.1, from port 8000 on]")
@click.option(
    "--worker-class",
    type=click.Choice(["sync", "gthread", "gevent"]),
    default="gthread",
    show_default=True,
)
@click.option("--workers", type=click.IntRange(1, 32), default=3, show_default=True)
def demo(store: str | None, bind: str | None, worker_class: str, workers: int) -> None:
    """Serve a page that shows several workers share one session.

    Settings in the environment are not used, and an application's own sessions are left alone.
    """
    _require("gunicorn")
    if worker_class == "gevent":
        _require("gevent")
    from wsgi_sessions.demo.server import Address, Plan, serve  # needs gunicorn

    address = None if bind is None else Address.parse(bind)
    serve(Plan(store, worker_class, workers), address)


@main.command()
def keygen() -> None:
    """Print a new secret for WSGI_SESSIONS_SECRET_KEYS."""
    click.echo(new_secret())


@main.command()
@json_option
def config(*, as_json: bool) -> None:
    """Print each setting, its value and where that came from. Secrets are hidden."""
    rows = describe(Config.from_environ(os.environ))
    if as_json:
        _print_json([row._asdict() for row in rows])
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@main.command()
@json_option
def sweep(*, as_json: bool) -> None:
    """Remove expired sessions, and what crashes left behind, now."""
    config = Config.from_environ(os.environ)
    backend = _open(config)
    try:
        backend.sessions.ping()  # some stores need no sweep, and would not be asked
        swept = Sweeper(backend, interval=0, max_sessions=config.max_sessions).sweep()
    except OSError as error:
        raise StoreUnavailable(f"the {backend.name} store cannot be swept: {error}") from error
    finally:
        backend.close()
    if as_json:
        _print_json({"store": backend.name, **swept._asdict()})
        return
    counts = {"expired": swept.expired, **swept.leftovers}
    live = "" if swept.live is None else f"; {swept.live} are live"
    click.echo(f"removed {', '.join(f'{n} {name}' for name, n in counts.items())}{live}")


@main.command()
@json_option
def check(*, as_json: bool) -> None:
    """Examine the session store; exit code 1 if it is not healthy."""
    config = Config.from_environ(os.environ)
    backend = _open(config)
    fingerprints = [fingerprint(secret) for secret in config.secret_keys]
    report = health.check(backend, timeout=config.health_timeout, fingerprints=fingerprints)
    backend.close()
    if as_json:
        _print_json(report.as_dict())
    else:
        click.echo(f"{report.backend}: {'healthy' if report.healthy else 'not healthy'}")
        for name, found in report.details.items():
            click.echo(f"  {name}: {found if isinstance(found, str) else json.dumps(found)}")
    sys.exit(0 if report.healthy else 1)


@main.command()
@click.argument("scope", default="global")
def bump(scope: str) -> None:
    """Make sessions stale that were made from SCOPE's data: they are refreshed at the next page.

    A program that loads data had better call bump_version in its own database transaction.
    """
    with _open_versions() as versions:
        click.echo(f"{scope} is at version {versions.bump(scope)}")


@main.command()
@click.argument("scopes", nargs=-1)
@click.option("--watch", is_flag=True, help="Go on, and print each change.")
@json_option
def versions(scopes: tuple[str, ...], *, watch: bool, as_json: bool) -> None:
    """Print the current version of each of SCOPES ("global" by default), and when it came."""
    names, seen = scopes or ("global",), dict[str, int]()
    with _open_versions() as stamps:
        while True:
            current = stamps.current(names)
            for scope in (name for name in names if current[name] != seen.get(name)):
                _show_version(scope, current[scope], stamps.history(scope), as_json=as_json)
            seen = current
            if not watch:
                return
            time.sleep(1)


def _show_version(scope: str, version: int, history: list[Bump], *, as_json: bool) -> None:
    if as_json:
        bumps = [bump._asdict() for bump in history]
        _print_json({"scope": scope, "version": version, "history": bumps})
        return
    when = ""
    if history and history[0].version == version:
        at = datetime.fromtimestamp(history[0].at, timezone.utc)
        when = f", since {at.isoformat(' ', 'seconds')}"
    click.echo(f"{scope} is at version {version}{when}")


@contextmanager
def _open_versions() -> Iterator[VersionStamps]:
    config = Config.from_environ(os.environ)
    backend = _open(config)
    stamps, other = open_versions(config, backend)
    if isinstance(stamps, MemoryVersions):
        raise ConfigurationError(
            "version stamps in memory belong to the server's own process: name a place for them "
            "that others can reach in WSGI_SESSIONS_VERSION_URL"
        )
    try:
        yield stamps
    finally:
        backend.close()
        if other is not None:
            other.close()


@main.command()
def refresh() -> None:
    """Refresh sessions in the background, until SIGTERM or SIGINT.

    Calls the function that WSGI_SESSIONS_REFRESH names. Set WSGI_SESSIONS_REFRESH_IN=process, so
    that the workers leave it to this process.
    """
    sys.path.insert(0, os.getcwd())  # where servers find the application too
    refresher, backend = open_refresher(Config.from_environ(os.environ))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    try:
        backend.sessions.ping()  # a wrong address had better be told at the start
        # In a thread, since a handler must not touch the locks that this thread waits on.
        refresher.ensure_running()
        while True:
            signal.pause()
    finally:
        refresher.close()
        backend.close()


def _exit(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _open(config: Config) -> Backend:
    return open_backend(
        config.url, key_prefix=config.key_prefix, timeout=config.timeout, fsync=config.fsync
    )


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{package} is not installed; install it with: "
            f"{sys.executable} -m pip install {package}"
        )


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
