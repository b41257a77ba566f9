"""What all commands share: how faults end, the settings, the store."""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.backend_choice import open_chosen
from wsgi_sessions.config import Config
from wsgi_sessions.errors import ConfigurationError, SessionError, StoreUnavailable

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
    return open_chosen(config).backend


@contextmanager
def answering_store(config: Config) -> Iterator[Backend]:
    """The store that the settings name, once it has answered; closed at the end.

    Raises ConfigurationError, and StoreUnavailable also for what the system refuses inside.
    """
    backend = open_store(config)
    try:
        backend.sessions.ping()  # a wrong address had better be told before anything is done
        yield backend
    except OSError as error:
        raise StoreUnavailable(f"the {backend.name} store failed: {error}") from error
    finally:
        backend.close()


def require(package: str) -> None:
    """Raise ConfigurationError, with the command that installs it, if a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{package} is not installed; install it with: "
            f"{sys.executable} -m pip install {package}"
        )
