"""The settings of the application that a command is about, given by ``--app`` or by Flask."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.cli.output import say
from wsgi_sessions.cli.owner import line_as, take_on_owner
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.build import Stack
from wsgi_sessions.stack.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contrib.pyramid.served import ServedSessions

TARGET = "wsgi_sessions.app"
"""The key of the application in a command's context: an object, or its import path."""
_INNER = ("app", "wsgi_app", "application")
_URL = "WSGI_SESSIONS_URL"
_OLD_URL = "WSGI_SESSIONS_MIGRATE_FROM"


def _note(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[TARGET] = value


app_option: Callable[[Any], Any] = click.option(
    "--app",
    metavar="MODULE:APP",
    expose_value=False,
    callback=_note,
    help="The application whose settings to use, as passed to a server; APP() is called.",
)


def config_of_target(url: str | None) -> Config | None:
    """Return the settings of the application that the command is about, or None without one; `url`
    replaces the store. A root process continues as the owner of the session folder: before the
    application is imported, if the folder is known by then.

    Raises ConfigurationError.
    """
    ctx = click.get_current_context(silent=True)
    target = None if ctx is None else ctx.meta.get(TARGET)
    if target is None:
        return None
    take_on_owner(_urls_told(url))
    imported_by = os.geteuid()
    config = _config_in(_loaded(target) if isinstance(target, str) else target, target)
    if url is not None:
        config = replace(config, url=url, sources={**config.sources, _URL: "--url"})
    take_on_owner([*config.urls, config.migrate_from])
    if os.geteuid() != imported_by:
        _warn_of_import()
    return config


def _urls_told(url: str | None) -> list[str]:
    """Return the stores that are named outside the application."""
    named = os.environ.get(_URL, "") if url is None else url
    return [*named.split(), os.environ.get(_OLD_URL, "")]


def _warn_of_import() -> None:
    say(
        "warning: the application was imported as root, because only it knows its session "
        "folder: files that it wrote, such as a log, belong to root. Run the command as the "
        f"owner of the folder instead: {line_as(os.geteuid())}",
        err=True,
    )


def _loaded(path: str) -> object:
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where servers find the application too
    try:
        found: Any = importlib.import_module(module)
        for part in (name.removesuffix("()") or "application").split("."):
            found = getattr(found, part)
        return found() if name.endswith("()") else found
    except ConfigurationError:
        raise
    except Exception as error:  # the application's own code may raise anything
        raise ConfigurationError(
            f"--app {path}: {type(error).__name__}: {error}; name it as for a server, as in "
            "wsgi:application or 'shop:create_app()', and run the command where it can be "
            "imported"
        ) from error


def _config_in(app: Any, target: object) -> Config:
    for _ in range(10):
        if isinstance(app, Stack):
            return app.config
        if isinstance(app, Config):
            return app
        flask = sys.modules.get("flask")
        if flask is not None and isinstance(app, flask.Flask):
            return _config_of_flask(app)
        served = _served_by_pyramid(app)
        if served is not None:
            return served.config()
        app = next((getattr(app, name) for name in _INNER if hasattr(app, name)), None)
    raise ConfigurationError(
        f"--app {target}: it has no sessions of this package: name what from_env or build "
        "returned, a Flask application with WSGISessions, or a Pyramid application that includes "
        "wsgi_sessions.contrib.pyramid"
    )


def _config_of_flask(app: Any) -> Config:
    from wsgi_sessions.contrib.flask.interface import WSGISessions, config_of_app

    if not isinstance(app.session_interface, WSGISessions):
        raise ConfigurationError(
            f"the Flask application {app.name} does not use WSGISessions of this package"
        )
    return config_of_app(app)


def _served_by_pyramid(app: Any) -> ServedSessions | None:
    if "wsgi_sessions.contrib.pyramid" not in sys.modules:
        return None
    from wsgi_sessions.contrib.pyramid.include import served_in

    try:
        return served_in(getattr(app, "registry", None))
    except LookupError:
        return None
