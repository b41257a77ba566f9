"""Commands about the settings and the health of the set-up."""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from wsgi_sessions.cli import boot
from wsgi_sessions.cli.output import json_option, print_columns, print_json, say
from wsgi_sessions.cli.owner import missing_folder
from wsgi_sessions.cli.shell import find_config, open_told, say_remarks, url_option
from wsgi_sessions.cli.target import app_option, config_of_target
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.identity import new_secret
from wsgi_sessions.metrics.shipped import FILES, text_of
from wsgi_sessions.migration.takeover_parts import remaining
from wsgi_sessions.operations import doctor
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.config_help import advice, describe
from wsgi_sessions.stack.store import open_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.metrics.shipped import Shipped

_NOT_YET = (
    "the session folder does not exist yet: the first worker creates it; this command did not, "
    "and checked the place for it"
)


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


@click.command()
@click.option(
    "--server",
    "servers",
    metavar="URL",
    multiple=True,
    help=(
        "A running server, with or without its health path: compare the store, keys and clock of "
        "its workers with these and with other servers (may be repeated)."
    ),
)
@click.option("--strict", is_flag=True, help="Exit with code 1 for warnings too.")
@url_option
@json_option
def check(servers: tuple[str, ...], url: str | None, *, strict: bool, as_json: bool) -> None:
    """Check the set-up and say what to do.

    Checks the health of the store, the permissions and space of a session folder, the eviction
    policy of Redis, SQL tables, signing keys, clocks and unknown variables. Builds the
    application's parts as a server does, including hooks, and asks the source of version stamps,
    the sessions to import and the previous store. Exit code 1 for a fault.
    """
    settings = find_config(url)  # its remarks are findings here
    with _store_or_stand_in(settings) as (chosen, backend):
        found = doctor.examine(backend, chosen, servers=servers)
        known = [finding.text for finding in found.findings]
        more = [
            fault
            for fault in [*boot.missing_secrets(settings), *boot.faults(chosen, backend)]
            if not any(text in fault.text for text in known)
        ]
    found = found._replace(findings=(*found.findings, *more))
    if missing_folder(settings) is not None:
        found = found._replace(advice=(*found.advice, _NOT_YET))
    found = _with_remaining(found, chosen)
    if as_json:
        print_json(found.as_dict())
    else:
        _print_examination(found)
    sys.exit(0 if found.is_well and not (strict and found.findings) else 1)


@contextmanager
def _store_or_stand_in(settings: Config) -> Iterator[tuple[Config, Backend]]:
    """Open the store, with settings reduced to it; for a missing folder, open a temporary one in
    its place."""
    folder = missing_folder(settings)
    if folder is None:
        chosen = open_told(settings, "look")
        with closing(chosen.backend):
            yield chosen
        return
    place = os.path.dirname(folder)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    try:
        with TemporaryDirectory(dir=place, prefix=".wsgi-sessions-check-") as stand_in:
            yield settings, open_url(f"file://{quote(stand_in)}/sessions", settings)
    except OSError as error:
        raise ConfigurationError(
            f"the session folder {folder} does not exist and cannot be created "
            f"({error.strerror}): name another one in WSGI_SESSIONS_URL, or change the "
            "permissions of the folder around it"
        ) from error


def _print_examination(found: doctor.Examination) -> None:
    health = found.health
    say(f"{health.backend}: {'healthy' if health.healthy else 'not healthy'}")
    details = {k: v for k, v in health.details.items() if k not in ("error", "warnings") and v}
    if found.skew is not None:
        details["clock"] = f"{found.skew:+.3f} s" if found.skew else "in step"
    if details:
        print_columns([(f"  {name}", _text(value)) for name, value in details.items()])
    for finding in found.findings:
        say(f"{finding.level} ({finding.topic}): {finding.text}")
    for text in found.advice:
        say(f"advice: {text}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _with_remaining(found: doctor.Examination, settings: Config) -> doctor.Examination:
    """Add the number of sessions that remain in the previous store, during a migration."""
    if settings.migrate_from is None or not found.health.healthy:
        return found
    with closing(open_url(settings.migrate_from, settings, "look")) as old:
        try:
            number = sum(1 for _ in remaining(old))
        except StoreUnavailable:
            return found  # which is a finding already
        migration = {"from": old.name, "remaining": number}
    details = {**found.health.details, "migration": migration}
    return found._replace(health=replace(found.health, details=details))
