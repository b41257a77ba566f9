"""Commands about the settings and the health of what they name."""

from __future__ import annotations

import json
import sys

import click

from wsgi_sessions import health
from wsgi_sessions.cli.output import json_option, print_columns, print_json
from wsgi_sessions.cli.shell import open_store, read_config
from wsgi_sessions.config_help import describe
from wsgi_sessions.health import fingerprint
from wsgi_sessions.identity import new_secret


@click.command()
def keygen() -> None:
    """Print a new secret for WSGI_SESSIONS_SECRET_KEYS."""
    click.echo(new_secret())


@click.command()
@json_option
def config(*, as_json: bool) -> None:
    """Print each setting, its value and where that came from. Secrets are hidden."""
    rows = describe(read_config())
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_columns(rows)


@click.command()
@json_option
def check(*, as_json: bool) -> None:
    """Examine the session store; exit code 1 if it is not healthy."""
    settings = read_config()
    backend = open_store(settings)
    fingerprints = [fingerprint(secret) for secret in settings.secret_keys]
    report = health.check(backend, timeout=settings.health_timeout, fingerprints=fingerprints)
    backend.close()
    if as_json:
        print_json(report.as_dict())
    else:
        click.echo(f"{report.backend}: {'healthy' if report.healthy else 'not healthy'}")
        for name, found in report.details.items():
            click.echo(f"  {name}: {found if isinstance(found, str) else json.dumps(found)}")
    sys.exit(0 if report.healthy else 1)
