"""Common parts of all commands: errors, settings, and the store."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.cli.application import in_default_folder, in_store
from wsgi_sessions.cli.output import say
from wsgi_sessions.cli.owner import take_on_owner
from wsgi_sessions.cli.target import TARGET, app_option, config_of_target
from wsgi_sessions.errors import ConfigurationError, SessionError, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import matching_keys
from wsgi_sessions.settings.declaration import DEFAULT
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.config import Config, with_variables
from wsgi_sessions.stack.store import open_store as open_chosen_store
from wsgi_sessions.stores.looking import looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend, Purpose
    from wsgi_sessions.stack.choice.chosen import Chosen


_URL = "WSGI_SESSIONS_URL"


class Commands(click.Group):
    """Commands that report errors as a line on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Called by click."""
        with reported():
            return super().invoke(ctx)


@contextmanager
def reported() -> Iterator[None]:
    """Report errors in a block as `Commands` does."""
    try:
        yield
    except SessionError as error:
        is_usage = isinstance(error, ConfigurationError)
        text = with_variables(str(error))
        raise (Misconfigured if is_usage else click.ClickException)(text) from error


class Misconfigured(click.ClickException):
    """A fault in arguments or settings."""

    exit_code = 2


_url_option = click.option(
    "--url", metavar="URL", help="The session store.  [default: as the application's]"
)


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a store, or an application with one."""
    return app_option(_url_option(command))  # type: ignore[no-any-return]  # click's decorators


def store_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Callback of a parameter that takes a store key or its beginning, as ``list`` shows it."""
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{4,64}", value):
        # The value is not shown: it may be a session id.
        raise click.BadParameter("a key is 4 to 64 hexadecimal digits, as 'list' shows them")
    return value and value.lower()


def read_config(url: str | None = None) -> Config:
    """Like `find_config`, but print warnings about the settings on stderr."""
    config = find_config(url)
    say_remarks(config)
    return config


def say_remarks(config: Config) -> None:
    """Print warnings about the settings on stderr."""
    for remark in config.remarks:
        say(f"warning: {remark}", err=True)


def find_config(url: str | None = None) -> Config:
    """Return the settings of the application that ``--app`` names, or those of the environment;
    `url` replaces the store. If sessions are in the default folder and one application has one, it
    is chosen. Continues as the owner of the session folder (see `take_on_owner`).

    Raises ConfigurationError.
    """
    named = config_of_target(url)
    if named is not None:
        return named
    given = {} if url is None else {"WSGI_SESSIONS_URL": url}
    environ = {**os.environ, **given}
    config = Config.from_environ(environ)
    if url is not None:
        config = replace(config, sources={**config.sources, _URL: "--url"})
    config = in_default_folder(config, environ)
    take_on_owner([*config.urls, config.migrate_from])
    return config


def open_store(config: Config, purpose: Purpose = "use") -> Backend:
    """Open the store of the settings; of several, the one that servers use (`open_chosen`). It is
    opened as the named application, or as the only one that uses it.

    The caller closes it. With `purpose` "look", nothing is created. Raises ConfigurationError.
    """
    return open_told(config, purpose).backend


def open_told(config: Config, purpose: Purpose = "use") -> Chosen:
    """Like `open_store`, with the settings reduced to the one store and application."""
    config = in_store(config)
    if len(config.urls) == 1:
        _say_which(config)  # even if it cannot be opened
    chosen = open_chosen_store(config, purpose)
    if len(config.urls) > 1:
        _say_which(chosen.config)
    return chosen


def _say_which(config: Config) -> None:
    """Print on stderr which store a command uses, and why; with JSON output, only warnings."""
    source = config.sources.get(_URL, "argument")
    ctx = click.get_current_context(silent=True)
    if ctx is None or not (ctx.params.get("as_json") or ctx.params.get("form") == "json"):
        application = "" if config.application is None else f"; application {config.application}"
        told = hide_credentials(config.url)
        say(f"store: {told} (from {source}){application}", err=True)
    if DEFAULT in source.split(", ") and TARGET not in (ctx.meta if ctx else {}):
        say(
            "warning: this is the default store because nothing is configured here: if the "
            "application has its own settings, name it with --app MODULE:APP, or its store with "
            "--url",
            err=True,
        )


@contextmanager
def answering_store(config: Config, purpose: Purpose = "use") -> Iterator[Backend]:
    """Open the store of the settings, wait for its answer, and close it at the end. With `purpose`
    "look", nothing in it changes.

    Raises ConfigurationError, and StoreUnavailable, also for an OSError inside the block.
    """
    backend = open_store(config, purpose)
    if backend.name == "memory":
        raise ConfigurationError(
            "sessions in memory:// are visible only to their own process: name the store of the "
            "application with --url or WSGI_SESSIONS_URL"
        )
    try:
        backend.sessions.ping()  # report a wrong address before doing anything
        yield looking(backend) if purpose == "look" else backend
    except OSError as error:
        raise StoreUnavailable(f"the {backend.name} store failed: {error}") from error
    finally:
        backend.close()


def key_of(backend: Backend, beginning: str) -> str:
    """Return the whole key of the one live session whose key begins so. Raises StoreUnavailable,
    and ClickException if no session or several match."""
    keys = matching_keys(backend, beginning)
    if not keys:
        raise click.ClickException(f"no live session's key begins with {short_key(beginning)}")
    if len(keys) > 1:
        raise click.ClickException(
            f"several sessions' keys begin with {short_key(beginning)}: type more of it"
        )
    return keys[0]


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless `yes` was given; a refusal ends the command with exit code 1."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True)


def require(package: str) -> None:
    """Raise ConfigurationError, with the command that installs it, if a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{package} is not installed; install it with: "
            f"{sys.executable} -m pip install {package}"
        )
