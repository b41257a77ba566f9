"""The command that creates the tables of a SQL store."""

from __future__ import annotations

import click

from wsgi_sessions.cli.output import json_option, print_json, say
from wsgi_sessions.cli.shell import read_config
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores import databases
from wsgi_sessions.stores.urls import is_sql_url


@click.command("migrate-schema")
@click.option("--url", help="The SQL store.  [default: that of the settings]")
@json_option
def migrate_schema(*, url: str | None, as_json: bool) -> None:
    """Create or upgrade the tables of a SQL store.

    Rows stay. Safe to repeat.
    """
    target = read_config(url).url
    if not is_sql_url(target):
        raise ConfigurationError(
            "WSGI_SESSIONS_URL is not a SQL store; only those have tables: set it, or give --url"
        )
    before, after = databases.migrate_schema(target)
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        say(f"the tables are up to date, at version {after}")
    else:
        say(f"the tables were upgraded from version {before} to {after}")
