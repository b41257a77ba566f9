"""The command that copies sessions to another store."""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.cli.application import in_store
from wsgi_sessions.cli.output import json_option, print_json, say
from wsgi_sessions.cli.owner import missing_folder, take_on_owner
from wsgi_sessions.core.limits.lifetimes import endless
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.migration.copying import Counts
from wsgi_sessions.migration.copying import copy as copy_all
from wsgi_sessions.operations.ending import reporting
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.store import open_url
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend, Purpose

_LINE_EVERY = 1000


@click.command()
@click.argument("from_url")
@click.argument("to_url")
@click.option("--move", "moving", is_flag=True, help="Remove them from the first store.")
@click.option("--dry-run", "dry", is_flag=True, help="Change nothing; count what would be done.")
@json_option
def copy(from_url: str, to_url: str, *, moving: bool, dry: bool, as_json: bool) -> None:
    """Copy all sessions of a store to another one.

    Copies from the store FROM_URL to the store TO_URL. A running application must read through
    (WSGI_SESSIONS_MIGRATE_FROM). May be interrupted and repeated. Other settings, such as the key
    prefix, come from the environment.
    """
    take_on_owner([from_url, to_url])
    source_config = in_store(_config(from_url))
    config = replace(_config(to_url), application=source_config.application)
    purpose: Purpose = "look" if dry else "use"
    stores = _stores(source_config.url, config, purpose)
    with (
        stores as (source, target),
        reporting(source, config) as report,
        _progress(source) as progress,
    ):
        counts = copy_all(
            source,
            target,
            leave="moved" if moving else "untouched",
            effect="count" if dry else "write",
            progress=progress,
            absolute_lifetime=endless(config.absolute_lifetime),
            report=report,
        )
    if as_json:
        print_json({"from": source.name, "to": target.name, "dry_run": dry, **asdict(counts)})
    else:
        say(("would be: " if dry else "") + _said(counts))


def _config(url: str) -> Config:
    """Return the settings with this store and no store to take over from."""
    environ = {name: v for name, v in os.environ.items() if name != "WSGI_SESSIONS_MIGRATE_FROM"}
    return Config.from_environ({**environ, "WSGI_SESSIONS_URL": url})


@contextmanager
def _stores(from_url: str, config: Config, purpose: Purpose) -> Iterator[tuple[Backend, Backend]]:
    if from_url == config.url:
        raise ConfigurationError("FROM_URL and TO_URL name the same store")
    with (
        closing(open_url(from_url, config, purpose)) as source,
        closing(_target(config, purpose)) as target,
    ):
        try:
            for backend in (source, target):
                backend.sessions.ping()  # report a wrong address at the start
            yield source, target
        except OSError as error:
            raise StoreUnavailable(f"a store failed: {error}; repeat the command") from error


def _target(config: Config, purpose: Purpose) -> Backend:
    """Open the store to copy to; to look at a missing folder, open an empty store."""
    if purpose == "look" and missing_folder(config) is not None:
        return open_backend("memory://")
    return open_url(config.url, config, purpose)


@contextmanager
def _progress(source: Backend) -> Iterator[Callable[[Counts], None]]:
    """Show a bar on a terminal, lines elsewhere; both on stderr."""
    if not sys.stderr.isatty():
        yield _line
        return
    count = source.iteration.count()
    bar: Any = click.progressbar(length=count, label="sessions", file=sys.stderr)
    with bar:
        yield lambda counts: bar.update(counts.sessions - bar.pos)


def _line(counts: Counts) -> None:
    if counts.sessions and counts.sessions % _LINE_EVERY == 0 and not counts.contexts:
        say(f"{counts.sessions} sessions so far", err=True)


def _said(counts: Counts) -> str:
    whole = asdict(counts)
    others = whole.pop("others")
    sessions = [f"{whole.pop(kind)} {kind}" for kind in _OUTCOMES]
    if others:
        sessions.append(f"{others} of other applications not copied")
    more = [f"{whole[kind]} {kind}" for kind in ("contexts", "scopes")]
    return f"sessions: {', '.join(sessions)}; {', '.join(more)}"


_OUTCOMES = ("copied", "moved", "refreshed", "kept", "destroyed", "gone")
