"""Commands that show sessions and end them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions import texts
from wsgi_sessions.cli.commands.listing import as_listed
from wsgi_sessions.cli.output import (
    ago,
    counted,
    json_option,
    print_columns,
    print_json,
    printable,
    say,
    timestamp,
    until,
)
from wsgi_sessions.cli.owner import by_command
from wsgi_sessions.cli.shell import (
    answering_store,
    confirm,
    key_of,
    read_config,
    store_key,
    url_option,
)
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.ending import manager_on, revoke_session, revoke_sessions_of
from wsgi_sessions.operations.inspection import SessionDetails, inspect
from wsgi_sessions.operations.maintenance import backend_status
from wsgi_sessions.stack.sessions import lifetimes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.core.manager import SessionManager


@click.command()
@url_option
@json_option
def count(url: str | None, *, as_json: bool) -> None:
    """Count sessions: live, expired and quarantined.

    Also counts contexts.
    """
    config = read_config(url)
    with answering_store(config, "look") as backend:
        status = backend_status(backend, timeout=config.health.timeout)
    if as_json:
        print_json(status.as_dict())
    else:
        names = ("sessions", "expired", "quarantined", "contexts")
        found = ((name, getattr(status, name)) for name in names)
        print_columns([(name, str(number)) for name, number in found if number is not None])
    if not status.health.healthy:
        raise click.ClickException(str(status.health.details["error"]))


@click.command()
@click.argument("key", callback=store_key)
@click.option("--values", is_flag=True, help="Also print values and the user.")
@url_option
@json_option
def show(key: str, url: str | None, *, values: bool, as_json: bool) -> None:
    """Show the contents of a session, without values.

    KEY is its store key or the beginning of it, as shown by `list` and the log. Times are UTC.
    """
    config = read_config(url)
    with answering_store(config, "look") as backend:
        whole = key_of(backend, key)
        try:
            details = inspect(backend, whole, lifetimes_of(config))
        except CorruptRecord as error:
            raise click.ClickException(f"session {short_key(whole)}: {error}") from error
    if details is None:
        raise click.ClickException(f"session {short_key(whole)} has ended")
    if as_json:
        print_json(_details_as_dict(details, with_values=values))
    else:
        _print_details(details, with_values=values)


@click.command()
@click.argument("key", callback=store_key, required=False)
@click.option("--principal", metavar="P", help="End all sessions of this user.")
@click.option(
    "--all-but",
    callback=store_key,
    metavar="KEY",
    help="End all other sessions of the user of this session.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@url_option
@json_option
def revoke(
    key: str | None,
    principal: str | None,
    all_but: str | None,
    url: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """End sessions at once: one, or all of a user.

    KEY is a store key or the beginning of one, as shown by `list` and the log.
    """
    if (key is not None) == (principal is not None or all_but is not None):
        raise click.UsageError("give either KEY, or --principal or --all-but")
    config = read_config(url)
    with answering_store(config, "change") as backend:
        manager = manager_on(backend, config)
        if key is not None:
            whole = key_of(backend, key)
            confirm(f"End session {short_key(whole)}?", yes=yes)
            revoke_session(manager, whole, by_command("revoke"))
            ended = 1
        else:
            ended = _revoke_of(manager, principal, all_but and key_of(backend, all_but), yes=yes)
    if as_json:
        print_json({"ended": ended})
    else:
        say(f"ended {counted(ended, 'session')}")


def _revoke_of(
    manager: SessionManager, principal: str | None, keep: str | None, *, yes: bool
) -> int:
    if keep is not None:
        theirs = manager.principals.principal_of(keep)
        if theirs is None:
            raise click.ClickException(
                f"session {short_key(keep)} has no user, so there are no other sessions to end"
            )
        if principal not in (None, theirs):
            raise click.ClickException(f"session {short_key(keep)} does not belong to that user")
        principal = theirs
    assert principal is not None
    number = sum(session.key != keep for session in manager.sessions_of(principal))
    if number:
        kept = "" if keep is None else f", and keep {short_key(keep)}"
        confirm(f"End {counted(number, 'session')} of this user{kept}?", yes=yes)
    return revoke_sessions_of(manager, principal, by_command("revoke"), keep=keep)


def _lifetime(asked: float | datetime | None) -> float | str | None:
    return asked.isoformat() if isinstance(asked, datetime) else asked


def _how_long(asked: float | datetime) -> str:
    if isinstance(asked, datetime):
        return f"until {timestamp(asked.timestamp())}"
    return f"for {asked:g} s of idleness"


def _details_as_dict(details: SessionDetails, *, with_values: bool) -> dict[str, Any]:
    label = details.summary.label
    asked = {"principal": details.principal, "label": label} if with_values else {}
    failures = details.refreshing.failures
    return {
        **as_listed(details.summary),
        "version": details.version,
        "size": details.size,
        "is_bound": details.principal is not None,
        **asked,
        "lifetime": _lifetime(details.lifetime),
        "is_kept_alive": details.refreshing.is_kept_alive,
        "refresh_failures": 0 if failures is None else failures.number,
        "holders": details.holders,
        "stamps": details.stamps,
        "values": [
            {
                "key": value.key,
                "type": value.type,
                "size": value.size,
                **({"value": texts.represented(value.value)} if with_values else {}),
            }
            for value in details.values
        ],
        "commits": [{"at": commit.at, "route": commit.route} for commit in details.commits],
    }


def _print_details(details: SessionDetails, *, with_values: bool) -> None:
    print_columns(list(_facts(details, with_values=with_values)))
    if details.values:
        say()
        heads = ("KEY", "TYPE", "BYTES", *(("VALUE",) if with_values else ()))
        rows = [
            (
                printable(value.key),
                value.type,
                str(value.size),
                *((printable(texts.represented(value.value)),) if with_values else ()),
            )
            for value in details.values
        ]
        print_columns([heads, *rows])
    if details.commits:
        say()
        rows = [(timestamp(c.at), printable(c.route)) for c in reversed(details.commits)]
        print_columns([("COMMITTED", "BY"), *rows])


def _facts(details: SessionDetails, *, with_values: bool) -> Iterator[tuple[str, str]]:
    session, now, refreshing = details.summary, wall_clock(), details.refreshing
    yield "session", f"{short_key(session.key)}, version {details.version}, {details.size} bytes"
    for name, at in (("created", session.created_at), ("last used", session.last_used_at)):
        yield name, f"{timestamp(at)} ({ago(at, now)})"
    yield "expires", f"{timestamp(session.expires_at)} ({until(session.expires_at, now)})"
    user = "none" if details.principal is None else "logged in (--values shows the user)"
    if with_values and details.principal is not None:
        user = printable(str(details.principal))
    yield "user", user
    if with_values and session.label is not None:
        yield "device", printable(session.label)
    if details.lifetime is not None:
        yield "remembered", _how_long(details.lifetime)
    if refreshing.is_kept_alive:
        last = session.refreshed_at
        since = "never refreshed yet" if last is None else f"refreshed {ago(last, now)}"
        failed = refreshing.failures
        yield "kept alive", since + (f", failed {failed.number} times since" if failed else "")
    if details.holders is not None:
        yield "in use by", counted(details.holders, "request")
    if details.stamps:
        stamps = (f"{printable(scope)} {number}" for scope, number in details.stamps.items())
        yield "made from", ", ".join(stamps)
