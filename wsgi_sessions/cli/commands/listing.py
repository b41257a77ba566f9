"""The command that lists sessions, filtered and sorted."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wsgi_sessions import texts
from wsgi_sessions.cli.commands.maintenance import age
from wsgi_sessions.cli.commands.pseudonym import digits
from wsgi_sessions.cli.output import (
    Progress,
    ago,
    counted,
    json_option,
    print_columns,
    print_json,
    say,
    timestamp,
    until,
)
from wsgi_sessions.cli.shell import answering_store, read_config, url_option
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import principal_of
from wsgi_sessions.core.principals import StoredSession
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError, CorruptRecord
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.ending import manager_on
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.settings.kinds import MIB, size
from wsgi_sessions.stack.secrets import kept_secrets
from wsgi_sessions.stack.sessions import lifetimes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.stack.config import Config

_SIZE = size(0, 1024 * MIB)


@texts.shows("size")
class _Listed(NamedTuple):
    """One session. `user`: the hash of its user, empty if unknown; None if nobody is logged in."""

    session: StoredSession
    size: int
    user: str | None


def as_listed(session: StoredSession) -> dict[str, Any]:
    """Return a session for JSON, without its label: a value, which is shown on request."""
    facts = {**session._asdict(), "key": short_key(session.key)}
    return {name: fact for name, fact in facts.items() if name not in ("label", "is_current")}


_HEADS = ("KEY", "USER", "BYTES", "CREATED", "LAST USED", "EXPIRES")
_ORDERS: dict[str, Callable[[_Listed], float]] = {
    "created": lambda listed: listed.session.created_at,
    "used": lambda listed: listed.session.last_used_at,
    "expires": lambda listed: listed.session.expires_at,
    "size": lambda listed: -listed.size,
}


def _bytes(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else _SIZE.parse(value.strip())
    except ValueError:
        raise click.BadParameter(f"{value!a}: must be {_SIZE.allowed}") from None


@click.command("list")
@click.option("--principal", metavar="P", help="Sessions of this user; needs no scan.")
@click.option(
    "--user", callback=digits, metavar="HASH", help=("Sessions of a user, by the hash in the log.")
)
@click.option("--older-than", callback=age, metavar="AGE", help="Sessions not used for this long.")
@click.option("--larger-than", callback=_bytes, metavar="SIZE", help="Sessions larger than this.")
@click.option(
    "--sort",
    "order",
    type=click.Choice(sorted(_ORDERS)),
    help="Oldest, least recently used, next to expire or largest first; scans the store.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="The maximum number."
)
@url_option
@json_option
def list_sessions(
    principal: str | None,
    user: str | None,
    older_than: float | None,
    larger_than: int | None,
    order: str | None,
    limit: int,
    url: str | None,
    *,
    as_json: bool,
) -> None:
    """List live sessions.

    The columns are the beginning of the store key, the size in bytes, times (UTC), and the user by
    the hash in the log; ? if the secret for that hash is unknown here.
    """
    config, now = read_config(url), wall_clock()
    with answering_store(config, "look") as backend:
        keys = None if principal is None else _keys_of(principal, backend, config)
        wanted = (
            listed
            for listed in _all(backend, config, keys)
            if (user is None or listed.user == user)
            and (older_than is None or listed.session.last_used_at <= now - older_than)
            and (larger_than is None or listed.size > larger_than)
        )
        shown = _first(wanted, order, limit + 1)
    is_all, shown = len(shown) <= limit, shown[:limit]
    shown = shown if order else sorted(shown, key=_ORDERS["created"])
    if as_json:
        print_json([_as_dict(listed) for listed in shown])
        return
    if shown:
        print_columns([_HEADS, *(_row(listed, now) for listed in shown)])
    more = "" if is_all else "; there are more: raise --limit"
    say(counted(len(shown), "session") + more, err=not is_all)


def _keys_of(principal: str, backend: Backend, config: Config) -> list[str]:
    return [session.key for session in manager_on(backend, config).sessions_of(principal)]


def _first(wanted: Iterable[_Listed], order: str | None, number: int) -> list[_Listed]:
    """Return the first sessions in an order; without one, those found first, and stop looking."""
    if order is None:
        return list(itertools.islice(wanted, number))
    return heapq.nsmallest(number, wanted, key=_ORDERS[order])


def _all(backend: Backend, config: Config, keys: list[str] | None) -> Iterator[_Listed]:
    try:
        pseudonyms = Pseudonyms(kept_secrets(config, backend)[-1])
    except ConfigurationError:
        pseudonyms = None
    lifetimes = lifetimes_of(config)
    with Progress("sessions read") as progress:
        for number, session in enumerate(live_sessions(backend, keys), 1):
            progress(number)
            try:
                yield _listed(*session, lifetimes, pseudonyms)
            except CorruptRecord:
                continue  # `check` and the log report those


def _listed(
    key: str, record: Any, envelope: Any, lifetimes: Lifetimes, pseudonyms: Pseudonyms | None
) -> _Listed:
    session = StoredSession.of(key, record.expires_at, envelope, lifetimes)
    user = principal_of(envelope)
    if user is not None:
        user = "" if pseudonyms is None else pseudonyms.of(user)
    return _Listed(session, len(record.payload), user)


def _row(listed: _Listed, now: float) -> tuple[str, ...]:
    session = listed.session
    return (
        short_key(session.key),
        "-" if listed.user is None else listed.user or "?",
        str(listed.size),
        timestamp(session.created_at),
        ago(session.last_used_at, now),
        until(session.expires_at, now),
    )


def _as_dict(listed: _Listed) -> dict[str, Any]:
    return {
        **as_listed(listed.session),
        "size": listed.size,
        "is_bound": listed.user is not None,
        "user": listed.user or None,
    }
