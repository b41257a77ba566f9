"""Commands about version stamps."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from wsgi_sessions.cli.output import json_option, print_json
from wsgi_sessions.cli.shell import open_store, read_config
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores.memory_versions import MemoryVersions
from wsgi_sessions.version_stack import open_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.base import Bump, VersionStamps


@click.command()
@click.argument("scope", default="global")
def bump(scope: str) -> None:
    """Make sessions stale that were made from SCOPE's data: they are refreshed at the next page.

    A program that loads data had better call bump_version in its own database transaction.
    """
    with _open_versions() as versions:
        click.echo(f"{scope} is at version {versions.bump(scope)}")


@click.command()
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
        print_json({"scope": scope, "version": version, "history": bumps})
        return
    when = ""
    if history and history[0].version == version:
        at = datetime.fromtimestamp(history[0].at, timezone.utc)
        when = f", since {at.isoformat(' ', 'seconds')}"
    click.echo(f"{scope} is at version {version}{when}")


@contextmanager
def _open_versions() -> Iterator[VersionStamps]:
    config = read_config()
    backend = open_store(config)
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
