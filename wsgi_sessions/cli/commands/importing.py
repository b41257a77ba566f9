"""The command that converts stored sessions of another library in advance."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from wsgi_sessions.cli.output import Progress, json_option, print_json, say
from wsgi_sessions.cli.shell import answering_store, read_config, url_option
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.importers.conversion import convert, count
from wsgi_sessions.stack.imports import importer_at
from wsgi_sessions.stack.sessions import open_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsgi_sessions.contract import Purpose
    from wsgi_sessions.importers.conversion import Converted


@click.command("import")
@click.argument("source", metavar="URL", required=False)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Read pickles too: anyone who could write to the old store can run code here.",
)
@click.option("--dry-run", is_flag=True, help="Store nothing; only report what would be refused.")
@url_option
@json_option
def import_(
    source: str | None, *, allow_pickle: bool, dry_run: bool, url: str | None, as_json: bool
) -> None:
    """Convert stored sessions of another library.

    Best done before their users come back. URL has the form of WSGI_SESSIONS_IMPORT_FROM, which is
    the default. The old sessions stay as they are. Safe to repeat: sessions not used since are
    updated. Exit code 1 if some were refused.
    """
    config = read_config(url)
    source = source or config.imports.source
    if source is None:
        raise ConfigurationError("name the place of the sessions, or set WSGI_SESSIONS_IMPORT_FROM")
    importer = importer_at(source, config, unpickle=_unpickler(allow_pickle=allow_pickle))
    purpose: Purpose = "look" if dry_run else "use"
    with closing(importer.records), answering_store(config, purpose) as backend:
        manager = open_manager(config, backend)
        converted = convert(manager, importer, mode="try" if dry_run else "store")
        with Progress("importing sessions") as progress:
            outcomes, reasons = count(_watched(converted, progress))
    if as_json:
        print_json({"outcomes": outcomes, "reasons": reasons, "dry_run": dry_run})
    else:
        done = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
        say(f"{'would be: ' if dry_run else ''}{done or 'no sessions found'}")
        for reason, number in reasons.most_common():
            say(f"  refused {number}: {reason}")
    if reasons:
        raise SystemExit(1)


def _unpickler(*, allow_pickle: bool) -> Callable[[bytes], object] | None:
    if not allow_pickle:
        return None
    from wsgi_sessions.importers.pickles import unpickle  # only on request

    return unpickle


def _watched(converted: Iterable[Converted], progress: Progress) -> Iterator[Converted]:
    for number, one in enumerate(converted, 1):
        progress(number)
        yield one
