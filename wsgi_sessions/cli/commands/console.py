"""The command that serves the page of operators."""

from __future__ import annotations

import click

from wsgi_sessions.cli.shell import open_told, read_config, require, url_option
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.listening import Address


@click.command()
@click.option(
    "--bind", metavar="HOST:PORT", help="[default: 127.0.0.1, the first free port from 8100]"
)
@click.option(
    "--metrics", metavar="URL", help="The metrics of a running server, for conflicts by key."
)
@click.option("--allow-revoke", is_flag=True, help="Let the page end sessions of a user.")
@url_option
def console(bind: str | None, metrics: str | None, url: str | None, *, allow_revoke: bool) -> None:
    """Serve a page for operators, until Ctrl+C.

    The printed URL has a token; without it, nothing is shown. The page changes nothing, unless
    --allow-revoke is given.
    """
    require("gunicorn")
    from wsgi_sessions.console.scrape import MetricsPath
    from wsgi_sessions.console.server import serve  # needs gunicorn

    address, config = None if bind is None else Address.parse(bind), read_config(url)
    path = None if metrics is None else MetricsPath(metrics, config.health.token)
    config, backend = open_told(config, "look")
    try:
        if backend.name == "memory":
            raise ConfigurationError(
                "sessions in memory:// are visible only to their own process: name the store of "
                "the application with --url or WSGI_SESSIONS_URL"
            )
        backend.sessions.ping()  # report a wrong address before anything is served
    finally:
        backend.close()
    serve(config, address, path, may_revoke=allow_revoke)
