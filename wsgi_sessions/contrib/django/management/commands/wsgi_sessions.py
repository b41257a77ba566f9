"""``manage.py wsgi_sessions``: the commands of ``wsgi-sessions``, on the store of the site."""

from __future__ import annotations

import os
from argparse import REMAINDER
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from django.conf import settings
from django.core.management.base import BaseCommand

from wsgi_sessions.contrib.django.config import config_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "wsgi_sessions"
_NOT_OF_ONE_APPLICATION = frozenset({"demo", "keygen", "copy", "migrate-schema"})


class Command(BaseCommand):  # type: ignore[misc]  # Django has no annotations
    """Called by Django."""

    help = "Look at sessions, and end some, in the store of this site."
    requires_system_checks: Sequence[str] = ()

    def add_arguments(self, parser: Any) -> None:
        """Called by Django: what follows the name is a command and its options."""
        parser.add_argument("args", nargs=REMAINDER)

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Called by ``manage.py``."""
        self._run(argv[2:], f"{os.path.basename(argv[0])} {argv[1]}")

    def handle(self, *args: str, **_: Any) -> None:
        """Called by ``call_command``, and returns where the command fails not."""
        try:
            self._run(args, f"manage.py {NAME}")
        except SystemExit as end:
            if end.code:
                raise

    def _run(self, words: Sequence[str], name: str) -> None:
        commands = import_module("wsgi_sessions.cli").main.commands
        of_one = {key: commands[key] for key in commands if key not in _NOT_OF_ONE_APPLICATION}
        group = import_module("wsgi_sessions.cli.shell").Commands(
            NAME, commands=of_one, callback=_choose, help=self.help
        )
        group.main([*words], prog_name=name)


def _choose() -> None:
    """Have the command look at the store of this site."""
    target = import_module("wsgi_sessions.cli.target").TARGET
    click.get_current_context().meta[target] = config_of(settings, os.environ)
