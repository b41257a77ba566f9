"""Commands that clean up and repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wsgi_sessions.cli.output import Progress, counted, json_option, print_json, say
from wsgi_sessions.cli.owner import by_command
from wsgi_sessions.cli.shell import answering_store, read_config, url_option
from wsgi_sessions.operations import maintenance
from wsgi_sessions.operations.ending import reporting
from wsgi_sessions.settings.kinds import DAY, duration
from wsgi_sessions.stack.sessions import lifetimes_of
from wsgi_sessions.stores.sweeper import Sweeper

if TYPE_CHECKING:
    from wsgi_sessions.contract import Purpose

_AGE = duration(1, 3650 * DAY, "7d, 12h or 90m")


def age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Callback of a parameter that takes a duration, as settings do; returns seconds."""
    try:
        return None if value is None else _AGE.parse(value.strip())
    except ValueError as error:
        reason = f"{error}; it " if str(error) else ""
        raise click.BadParameter(f"{value!a}: {reason}must be {_AGE.allowed}") from None


@click.command()
@url_option
@json_option
def sweep(url: str | None, *, as_json: bool) -> None:
    """Remove expired sessions and the leftovers of crashes."""
    config = read_config(url)
    with answering_store(config) as backend, reporting(backend, config) as report:
        sweeper = Sweeper(backend, interval=0, max_sessions=config.max_sessions)
        if report.traces is not None:
            sweeper.report_to(report.expired_by(by_command("sweep")), report.traces.trim)
        swept = sweeper.sweep()
    if as_json:
        print_json({"store": backend.name, **swept._asdict()})
        return
    counts = {"expired": swept.expired, **swept.leftovers}
    live = "" if swept.live is None else f"; {swept.live} are live"
    say(f"removed {', '.join(f'{n} {name}' for name, n in counts.items())}{live}")


@click.command()
@click.option(
    "--older-than",
    callback=age,
    metavar="AGE",
    help="Also delete live sessions not used for this long, such as 7d or 12h.",
)
@click.option("--dry-run", is_flag=True, help="Only count; delete nothing.")
@url_option
@json_option
def purge(older_than: float | None, url: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete expired sessions, and unused ones.

    The time without use is derived from the expiry: use the application's own lifetimes.
    """
    config = read_config(url)
    purpose: Purpose = "look" if dry_run else "use"
    with (
        answering_store(config, purpose) as backend,
        reporting(backend, config) as report,
        Progress("looked at") as progress,
    ):
        done = maintenance.delete_expired(
            backend,
            dry_run=dry_run,
            older_than=older_than,
            lifetimes=lifetimes_of(config),
            on_progress=progress,
            report=report,
            by=by_command("purge"),
        )
    if as_json:
        print_json({**done._asdict(), "dry_run": dry_run})
        return
    unused = "" if older_than is None else f" and {done.unused} unused"
    verb = "would delete" if dry_run else "deleted"
    noun = "session" if done.expired + done.unused == 1 else "sessions"
    say(f"{verb} {done.expired} expired{unused} {noun}")


@click.command()
@url_option
@json_option
def reindex(url: str | None, *, as_json: bool) -> None:
    """Rebuild the index of sessions by user.

    Needed if the index was lost, as after a restore from a backup. With several applications in the
    store, only the named one is indexed.
    """
    config = read_config(url)
    with answering_store(config) as backend, Progress("looked at") as progress:
        bound = maintenance.rebuild_index(
            backend, lifetimes=lifetimes_of(config), on_progress=progress
        )
    if as_json:
        print_json({"indexed": bound})
    else:
        say(f"indexed {counted(bound, 'session')}")
