"""Commands about version stamps."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wsgi_sessions.cli.output import json_option, print_columns, print_json, say, timestamp
from wsgi_sessions.cli.shell import Commands, open_store, read_config, url_option
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.versions import open_versions
from wsgi_sessions.stores.memory.versions import MemoryVersions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Bump, Purpose, VersionStamps


@click.group(cls=Commands)
def versions() -> None:
    """Show version stamps, or make sessions stale."""


@versions.command()
@click.argument("scope", default="global")
@url_option
@json_option
def bump(scope: str, url: str | None, *, as_json: bool) -> None:
    """Make sessions built from the data of SCOPE stale: the next page load rebuilds them.

    Loaders should call bump_version in their own database transaction.
    """
    with _open_versions(url) as stamps:
        version = stamps.bump(scope)
    if as_json:
        print_json({"scope": scope, "version": version})
    else:
        say(f"{scope} is at version {version}")


@versions.command()
@click.argument("scopes", nargs=-1)
@url_option
@json_option
def show(scopes: tuple[str, ...], url: str | None, *, as_json: bool) -> None:
    """Show the current version of SCOPES ("global" by default) and the time of its bump (UTC)."""
    names = scopes or ("global",)
    with _open_versions(url, "look") as stamps:
        current = stamps.current(names)
        found = [_Version(name, current[name], stamps.history(name)) for name in names]
    if as_json:
        print_json([version.as_dict() for version in found])
    else:
        print_columns([(v.scope, f"version {v.version}", v.since) for v in found])


@versions.command()
@click.argument("scopes", nargs=-1)
@url_option
@json_option
def watch(scopes: tuple[str, ...], url: str | None, *, as_json: bool) -> None:
    """Print the versions of SCOPES and then each change, until Ctrl+C. JSON: one per line."""
    names, seen = scopes or ("global",), dict[str, int]()
    with _open_versions(url, "look") as stamps, suppress(KeyboardInterrupt):
        while True:
            current = stamps.current(names)
            for scope in (name for name in names if current[name] != seen.get(name)):
                found = _Version(scope, current[scope], stamps.history(scope))
                if as_json:
                    print_json(found.as_dict(), indent=None)
                else:
                    say(str(found))
            seen = current
            time.sleep(1)


class _Version(NamedTuple):
    scope: str
    version: int
    history: list[Bump]

    @property
    def since(self) -> str:
        """The time of the bump, if known."""
        if not self.history or self.history[0].version != self.version:
            return ""
        return f"since {timestamp(self.history[0].at)}"

    def __str__(self) -> str:
        return f"{self.scope}  version {self.version}  {self.since}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self._asdict(), "history": [bump._asdict() for bump in self.history]}


@contextmanager
def _open_versions(url: str | None, purpose: Purpose = "use") -> Iterator[VersionStamps]:
    config = read_config(url)
    if purpose == "look":
        config = replace(config, sql_schema="require")
    backend = open_store(config, purpose)
    stamps, other = open_versions(config, backend)
    if isinstance(stamps, MemoryVersions):
        raise ConfigurationError(
            "version stamps in memory are visible only to the server's own process: name a "
            "shared place for them in WSGI_SESSIONS_VERSION_URL"
        )
    try:
        yield stamps
    finally:
        backend.close()
        if other is not None:
            other.close()
