"""Commands about contexts, the things users last worked on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions import texts
from wsgi_sessions.cli.commands.maintenance import age
from wsgi_sessions.cli.output import (
    Progress,
    counted,
    json_option,
    print_columns,
    print_json,
    printable,
    say,
    timestamp,
)
from wsgi_sessions.cli.shell import Commands, answering_store, confirm, read_config, url_option
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.errors import ConfigurationError, CorruptRecord
from wsgi_sessions.operations import maintenance
from wsgi_sessions.stack.hooks import load_hook

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, Context, ContextStore, Purpose


@click.group(cls=Commands)
def contexts() -> None:
    """Show or forget what users last worked on."""


@contexts.command()
@click.argument("principal")
@click.option("--values", is_flag=True, help="Print values too.")
@url_option
@json_option
def show(principal: str, url: str | None, *, values: bool, as_json: bool) -> None:
    """Show what is remembered for a user, without values. Scans the store. Times are UTC."""
    with answering_store(read_config(url), "look") as backend:
        found = _contexts_of(backend, principal)
    if as_json:
        print_json([_as_dict(name, context, with_values=values) for name, context in found])
        return
    if found:
        rows = [
            (
                printable(name),
                timestamp(context.accessed_at),
                *((printable(texts.represented(_value(context))),) if values else ()),
            )
            for name, context in found
        ]
        print_columns([("KEY", "SELECTED", *(("VALUE",) if values else ())), *rows])
    say(counted(len(found), "context"))


@contexts.command()
@click.argument("principal")
@click.argument("names", metavar="[KEY]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
@json_option
def clear(
    principal: str, names: tuple[str, ...], url: str | None, *, yes: bool, as_json: bool
) -> None:
    """Forget what is remembered for a user, under these session keys or all."""
    with answering_store(read_config(url)) as backend:
        found = [name for name, _ in _contexts_of(backend, principal)]
        doomed = [name for name in found if not names or name in names]
        if doomed:
            confirm(f"Forget {counted(len(doomed), 'context')} of this user?", yes=yes)
        for name in doomed:
            _store_of(backend).clear(principal, name)
    if as_json:
        print_json({"cleared": len(doomed)})
    else:
        say(f"cleared {counted(len(doomed), 'context')}")


@contexts.command()
@click.option(
    "--older-than", callback=age, metavar="AGE", help=("Contexts not selected for this long.")
)
@click.option(
    "--still-valid",
    metavar="MODULE:FUNCTION",
    help="Contexts for which function(principal, key, value) returns False.",
)
@click.option("--dry-run", is_flag=True, help="Only count; forget nothing.")
@url_option
@json_option
def prune(
    older_than: float | None,
    still_valid: str | None,
    url: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Forget contexts that are old or no longer valid."""
    if older_than is None and still_valid is None:
        raise click.UsageError("nothing to select by: give --older-than or --still-valid")
    sys.path.insert(0, os.getcwd())  # where servers also find the application
    hook = None if still_valid is None else load_hook(still_valid, "--still-valid")
    purpose: Purpose = "look" if dry_run else "use"
    with answering_store(read_config(url), purpose) as backend, Progress("looked at") as progress:
        _store_of(backend)
        done = maintenance.clear_stale_contexts(
            backend, hook, dry_run=dry_run, older_than=older_than, on_progress=progress
        )
    if as_json:
        print_json({**done._asdict(), "dry_run": dry_run})
    else:
        verb = "would clear" if dry_run else "cleared"
        say(f"{verb} {done.cleared} of {counted(done.examined, 'context')}")


def _store_of(backend: Backend) -> ContextStore:
    if backend.contexts is None:
        raise ConfigurationError(f"the {backend.name} store keeps no contexts")
    return backend.contexts


def _contexts_of(backend: Backend, principal: str) -> list[tuple[str, Context]]:
    items = _store_of(backend).items()
    return sorted({name: context for whose, name, context in items if whose == principal}.items())


def _as_dict(name: str, context: Context, *, with_values: bool) -> dict[str, Any]:
    asked = {"value": texts.represented(_value(context))} if with_values else {}
    return {"key": name, "accessed_at": context.accessed_at, **asked}


def _value(context: Context) -> Any:
    try:
        return decode(context.value)
    except CorruptRecord:
        return "(damaged)"
