"""Commands about the settings and the health of the set-up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from wsgi_sessions.cli.output import json_option, print_columns, print_json, say
from wsgi_sessions.cli.shell import say_remarks
from wsgi_sessions.cli.target import app_option, config_of_target
from wsgi_sessions.identity import new_secret
from wsgi_sessions.metrics.shipped import FILES, text_of
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.config_help import advice, describe

if TYPE_CHECKING:
    from wsgi_sessions.metrics.shipped import Shipped


@click.command()
def keygen() -> None:
    """Print a new secret for WSGI_SESSIONS_SECRET_KEYS."""
    say(new_secret())


@click.command()
@click.argument("what", type=click.Choice([*FILES]))
def metrics(what: Shipped) -> None:
    """Print a Grafana dashboard, or Prometheus alert rules.

    For the metrics at the path in WSGI_SESSIONS_METRICS_PATH: import the one into Grafana, and name
    the file with the other in rule_files of Prometheus.
    """
    say(text_of(what).rstrip())


@click.command()
@app_option
@json_option
def config(*, as_json: bool) -> None:
    """Print each setting and its source.

    Secrets are hidden.
    """
    settings = config_of_target(None) or Config.from_environ(os.environ)
    say_remarks(settings)
    rows = describe(settings)
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_columns(rows)
        for text in advice(settings):
            say(f"advice: {text}", err=True)
