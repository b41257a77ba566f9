"""Commands about the settings and the health of what they name."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from wsgi_sessions import doctor
from wsgi_sessions.cli.output import json_option, print_columns, print_json
from wsgi_sessions.cli.shell import open_store, read_config, url_option
from wsgi_sessions.config import unknown_variables
from wsgi_sessions.config_help import describe
from wsgi_sessions.identity import new_secret
from wsgi_sessions.migration.takeover_parts import remaining
from wsgi_sessions.stack_parts.store import open_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.config import Config


@click.command()
def keygen() -> None:
    """Print a new secret for WSGI_SESSIONS_SECRET_KEYS."""
    click.echo(new_secret())


@click.command()
@json_option
def config(*, as_json: bool) -> None:
    """Print each setting and where it came from.

    Secrets are hidden.
    """
    rows = describe(read_config())
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_columns(rows)


@click.command()
@click.option(
    "--server",
    metavar="URL",
    help="A running server's health path: ask its workers which keys they have.",
)
@click.option("--strict", is_flag=True, help="Exit code 1 for a warning too.")
@url_option
@json_option
def check(server: str | None, url: str | None, *, strict: bool, as_json: bool) -> None:
    """Examine the set-up, and say what to do.

    Looks at the health of the store, at permissions and room of a session folder, Redis' eviction
    policy, the tables in SQL, signing keys, clocks, and variables that are no settings. Exit code
    1 for a fault.
    """
    with _without_log():
        settings = read_config(url)
    backend = open_store(settings)
    try:
        found = doctor.examine(
            backend, settings, unknown=unknown_variables(os.environ), server=server
        )
    finally:
        backend.close()
    found = _with_remaining(found, settings)
    if as_json:
        print_json(found.as_dict())
    else:
        _print_examination(found)
    sys.exit(0 if found.is_well and not (strict and found.findings) else 1)


def _print_examination(found: doctor.Examination) -> None:
    health = found.health
    click.echo(f"{health.backend}: {'healthy' if health.healthy else 'not healthy'}")
    details = {k: v for k, v in health.details.items() if k not in ("error", "warnings") and v}
    if found.skew is not None:
        details["clock"] = f"{found.skew:+.3f} s" if found.skew else "in step"
    if details:
        print_columns([(f"  {name}", _text(value)) for name, value in details.items()])
    for finding in found.findings:
        click.echo(f"{finding.level} ({finding.topic}): {finding.text}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@contextmanager
def _without_log() -> Iterator[None]:
    """Without the lines about unknown variables, which are among the findings."""
    logger = logging.getLogger("wsgi_sessions.config")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def _with_remaining(found: doctor.Examination, settings: Config) -> doctor.Examination:
    """And how many sessions are still in the store before, while they are taken over."""
    if settings.migrate_from is None or not found.health.healthy:
        return found
    with closing(open_url(settings.migrate_from, settings)) as old:
        number = sum(1 for _ in remaining(old))
        migration = {"from": old.name, "remaining": number}
    details = {**found.health.details, "migration": migration}
    return found._replace(health=replace(found.health, details=details))
