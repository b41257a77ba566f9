"""What all commands share: how faults end, the settings, the store."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.commit import Lifetimes
from wsgi_sessions.config import Config
from wsgi_sessions.errors import ConfigurationError, SessionError, StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.inspection import matching_keys
from wsgi_sessions.manager import SessionManager
from wsgi_sessions.stack_parts.store import open_store as open_chosen_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.stores.base import Backend


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


url_option = click.option(
    "--url", metavar="URL", help="The session store.  [default: as the application's]"
)


def store_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Callback of a parameter that takes a store key, or how one begins, as ``list`` shows it."""
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{4,64}", value):
        # What was given is not shown: it may be a session's id.
        raise click.BadParameter("a key is 4 to 64 hexadecimal digits, as 'list' shows them")
    return value and value.lower()


def read_config(url: str | None = None) -> Config:
    """The settings of the environment, with another store if `url` names one.

    Raises ConfigurationError.
    """
    given = {} if url is None else {"WSGI_SESSIONS_URL": url}
    return Config.from_environ({**os.environ, **given})


def open_store(config: Config) -> Backend:
    """The store that the settings name, of several the one that servers use (`open_chosen`).

    Who opens it closes it. Raises ConfigurationError.
    """
    return open_chosen_store(config).backend


@contextmanager
def answering_store(config: Config) -> Iterator[Backend]:
    """The store that the settings name, once it has answered; closed at the end.

    Raises ConfigurationError, and StoreUnavailable also for what the system refuses inside.
    """
    backend = open_store(config)
    if backend.name == "memory":
        raise ConfigurationError(
            "sessions in memory:// can be seen by their own process alone: name the store that the "
            "application uses with --url or WSGI_SESSIONS_URL"
        )
    try:
        backend.sessions.ping()  # a wrong address had better be told before anything is done
        yield backend
    except OSError as error:
        raise StoreUnavailable(f"the {backend.name} store failed: {error}") from error
    finally:
        backend.close()


def manager_on(backend: Backend, config: Config) -> SessionManager:
    """A manager to look and to end sessions with. It takes none for too old by the absolute
    lifetime: an operator's environment need not be the application's."""
    return SessionManager(backend, lifetimes=Lifetimes(config.idle_lifetime, math.inf))


def lifetimes_of(config: Config) -> Lifetimes:
    """The settings' lifetimes."""
    return Lifetimes(config.idle_lifetime, config.absolute_lifetime)


def key_of(backend: Backend, beginning: str) -> str:
    """The whole key of the one live session whose key begins so. Raises StoreUnavailable, and
    ClickException if there is none, or another."""
    keys = matching_keys(backend, beginning)
    if not keys:
        raise click.ClickException(f"no live session's key begins with {short_key(beginning)}")
    if len(keys) > 1:
        raise click.ClickException(
            f"several sessions' keys begin with {short_key(beginning)}: give more of it"
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
