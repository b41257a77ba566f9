"""The command that tries everything configured, before a deploy and when something is wrong."""

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
from wsgi_sessions.cli.findings import (
    Format,
    annotate,
    exit_code,
    format_option,
    print_examination,
)
from wsgi_sessions.cli.output import json_option
from wsgi_sessions.cli.owner import missing_folder
from wsgi_sessions.cli.shell import find_config, open_told, url_option
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.migration.takeover_parts import remaining
from wsgi_sessions.operations import doctor
from wsgi_sessions.stack.config import with_variables
from wsgi_sessions.stack.store import open_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.config import Config

_NOT_YET = (
    "the session folder does not exist yet: the first worker creates it; this command did not, "
    "and checked the place for it"
)


@click.command()
@click.option(
    "--server",
    "servers",
    metavar="URL",
    multiple=True,
    help=(
        "A running server, with or without its health path, by the address that browsers use: "
        "compare the store, keys, clock and scheme of its workers with these settings and with "
        "other servers (may be repeated)."
    ),
)
@click.option("--strict", is_flag=True, help="Exit with code 3 for warnings alone.")
@format_option
@url_option
@json_option
def check(
    servers: tuple[str, ...], url: str | None, form: Format, *, strict: bool, as_json: bool
) -> None:
    """Check the set-up and say what to do.

    Checks the health of the store, the permissions, space and inodes of a session folder, the
    eviction policy and memory of Redis, SQL tables, signing keys, clocks, large sessions and
    unknown variables. Builds the application's parts as a server does, including hooks, and asks
    the source of version stamps, the store of contexts, the sessions to import and the previous
    store.

    Exit code 0: well; 1: a fault; 2: settings that make no sense; 3: warnings, with --strict.
    """
    form = "json" if as_json else form
    with _annotated(form):
        found = _examined(find_config(url), servers)  # its remarks are findings here
    print_examination(found, form)
    sys.exit(exit_code(found.findings, strict=strict))


def _examined(settings: Config, servers: Sequence[str]) -> doctor.Examination:
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
    return _with_remaining(found, chosen)


@contextmanager
def _annotated(form: Format) -> Iterator[None]:
    """Also print the error that ends the command as an annotation, if that is the format."""
    try:
        yield
    except (ConfigurationError, StoreUnavailable) as error:
        if form == "github":
            annotate("error", "settings", with_variables(str(error)))
        raise


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
