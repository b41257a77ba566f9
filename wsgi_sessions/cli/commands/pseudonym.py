"""The command about pseudonyms, the names of users in the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from wsgi_sessions.cli.output import Progress, json_option, print_json, say
from wsgi_sessions.cli.shell import answering_store, read_config, url_option
from wsgi_sessions.core.draft import PRINCIPAL
from wsgi_sessions.core.pseudonyms import DIGITS, Pseudonyms
from wsgi_sessions.errors import CorruptRecord
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stack.secrets import kept_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend


def digits(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Callback of a parameter that takes a pseudonym."""
    if value is not None and not re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", value):
        raise click.BadParameter(f"a pseudonym is {DIGITS} hexadecimal digits, as in the log")
    return value


@click.command()
@click.argument("principal", required=False)
@click.option(
    "--find", "wanted", metavar="DIGITS", callback=digits, help="Find the user with this pseudonym."
)
@url_option
@json_option
def pseudonym(principal: str | None, wanted: str | None, url: str | None, *, as_json: bool) -> None:
    """Print the pseudonym of a user in the log, or the user.

    --find scans the store for users with a session or a context. Only the newest secret counts:
    pseudonyms logged before it changed are not found.
    """
    if (principal is None) == (wanted is None):
        raise click.UsageError("give either a user or --find")
    config = read_config(url)
    with answering_store(config) as backend:
        pseudonyms = Pseudonyms(kept_secrets(config, backend)[-1])
        if wanted is None:
            found = [(principal, pseudonyms.of(principal))]
        else:
            users = sorted(set(_users(backend)))
            found = [(user, wanted) for user in users if pseudonyms.of(user) == wanted]
    if as_json:
        print_json([{"user": user, "pseudonym": its} for user, its in found])
    elif wanted is None:
        say(str(found[0][1]))
    else:
        for user, _ in found:
            say(str(user))
    if not found:
        raise click.ClickException("no user with a session or a context has this pseudonym")


def _users(backend: Backend) -> Iterator[str]:
    """Yield the users of sessions and contexts."""
    with Progress("sessions read") as progress:
        for number, (_, _, envelope) in enumerate(live_sessions(backend), 1):
            progress(number)
            try:
                user = envelope.get_metadata(PRINCIPAL)
            except CorruptRecord:
                continue
            if user is not None:
                yield str(user)
    if backend.contexts is not None:
        yield from (user for user, _, _ in backend.contexts.items())
