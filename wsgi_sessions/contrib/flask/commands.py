"""``flask sessions``: the commands of ``wsgi-sessions``, on the store of the Flask application."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flask import Flask

NAME = "sessions"
_NOT_OF_ONE_APPLICATION = frozenset({"demo", "keygen", "copy", "migrate-schema"})


class SessionCommands(click.Group):
    """The command group; its commands are imported on use, since servers do not need them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Called by click."""
        return sorted(_commands().keys() - _NOT_OF_ONE_APPLICATION)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Called by click."""
        return None if name in _NOT_OF_ONE_APPLICATION else _commands().get(name)

    def invoke(self, ctx: click.Context) -> Any:
        """Called by click."""
        with import_module("wsgi_sessions.cli.shell").reported():
            return super().invoke(ctx)


def add_commands(app: Flask) -> None:
    """Add the group to a Flask application, unless it has one of that name."""
    if NAME in app.cli.commands:
        return

    def choose() -> None:
        target = import_module("wsgi_sessions.cli.target").TARGET
        click.get_current_context().meta[target] = app

    help_ = "Show and end sessions in the store of this application."
    app.cli.add_command(SessionCommands(NAME, callback=choose, help=help_))


def _commands() -> dict[str, click.Command]:
    commands: dict[str, click.Command] = import_module("wsgi_sessions.cli").main.commands
    return commands
