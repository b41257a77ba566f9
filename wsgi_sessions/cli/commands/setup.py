"""Commands about the settings and the health of what they name."""

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
from wsgi_sessions.migration.takeover_parts import remaining
from wsgi_sessions.operations import doctor
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.config_help import advice, describe
from wsgi_sessions.stack.store import open_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend

_NOT_YET = (
    "the session folder is not there yet: the first worker that starts makes it; this command made "
    "none, and looked at the place for it"
)


@click.command()
def keygen() -> None:
    """Print a new secret for WSGI_SESSIONS_SECRET_KEYS."""
    say(new_secret())


@click.command()
@app_option
@json_option
def config(*, as_json: bool) -> None:
    """Print each setting and where it came from.

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
    help="A running server, with or without its health path: compare its workers' store, keys and "
    "clock with these, and with other servers' (give it several times).",
)
@click.option("--strict", is_flag=True, help="Exit code 1 for a warning too.")
@url_option
@json_option
def check(servers: tuple[str, ...], url: str | None, *, strict: bool, as_json: bool) -> None:
    """Examine the set-up, and say what to do.

    Looks at the health of the store, at permissions and room of a session folder, Redis' eviction
    policy, the tables in SQL, signing keys, clocks, and variables that are no settings; starts the
    application's parts as a server does, hooks included, and asks the source of version stamps, the
    sessions to import and the store before. Exit code 1 for a fault.
    """
    settings = find_config(url)  # its remarks are among the findings
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
    """The store, and the settings of that alone; for a folder that is not there yet, one where it
    would be, which is removed."""
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
            f"the session folder {folder} is not there, and cannot be made ({error.strerror}): "
            "name another one in WSGI_SESSIONS_URL, or change the permissions of its place"
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
    """And how many sessions are still in the store before, while they are taken over."""
    if settings.migrate_from is None or not found.health.healthy:
        return found
    with closing(open_url(settings.migrate_from, settings, "look")) as old:
        try:
            number = sum(1 for _ in remaining(old))
        except StoreUnavailable:
            return found  # which is among the findings
        migration = {"from": old.name, "remaining": number}
    details = {**found.health.details, "migration": migration}
    return found._replace(health=replace(found.health, details=details))
