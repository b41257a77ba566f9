"""The command that tells why sessions ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsgi_sessions.cli.output import json_option, print_json, printable, say, timestamp
from wsgi_sessions.cli.shell import answering_store, read_config, store_key, url_option
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.endings import REASONS
from wsgi_sessions.identity import short_key
from wsgi_sessions.stack.secrets import kept_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.endings import EndTrace
    from wsgi_sessions.stack.config import Config

_MOST = 20


@click.command()
@click.argument("key", callback=store_key, required=False)
@click.option("--principal", metavar="P", help="The latest ended sessions of this user.")
@url_option
@json_option
def explain(key: str | None, principal: str | None, url: str | None, *, as_json: bool) -> None:
    """Tell why sessions ended.

    KEY is a store key or the beginning of one, as the log shows it. Times are UTC, by the clock of
    the process that ended the session.
    """
    if (key is None) == (principal is None):
        raise click.UsageError("give either KEY or --principal")
    config = read_config(url)
    with answering_store(config, "look") as backend:
        traces = sorted(_found(backend, config, key, principal), key=lambda trace: trace.at)
    if as_json:
        print_json([_as_dict(trace) for trace in traces])
        return
    for trace in traces:
        for line in _lines(trace):
            say(line)
    if not traces:
        say(
            "no trace of an end: the session is live (see 'show'), the server deleted it when it "
            "expired, or it ended longer ago than traces are kept"
        )


def _found(
    backend: Backend, config: Config, key: str | None, principal: str | None
) -> list[EndTrace]:
    if backend.endings is None:
        raise click.ClickException(f"the {backend.name} store keeps no traces of ended sessions")
    if key is not None:
        return backend.endings.matching(key, _MOST)
    users = {Pseudonyms(secret).of(principal) for secret in kept_secrets(config, backend)}
    return [t for user in users if user for t in backend.endings.of_user(user, _MOST)]


def _lines(trace: EndTrace) -> Iterator[str]:
    yield f"session {short_key(trace.key)}"
    if trace.begun_at is not None:
        yield f"  {timestamp(trace.begun_at)}  began, or its user logged in"
    for at, route in trace.commits:
        yield f"  {timestamp(at)}  stored changes of {printable(route)}"
    route = "" if trace.route is None else f", on {printable(trace.route)}"
    yield (
        f"  {timestamp(trace.at)}  ended: {trace.why}, {REASONS[trace.why]} "
        f"(by {printable(trace.by)}{route})"
    )
    if trace.detail is not None:
        yield f"  because: {printable(trace.detail)}"
    if trace.successor is not None:
        yield f"  it goes on as session {short_key(trace.successor)}"


def _as_dict(trace: EndTrace) -> dict[str, Any]:
    return {
        "key": short_key(trace.key),
        "why": trace.why,
        "at": trace.at,
        "by": trace.by,
        "route": trace.route,
        "detail": trace.detail,
        "successor": trace.successor and short_key(trace.successor),
        "begun_at": trace.begun_at,
        "commits": [{"at": at, "route": route} for at, route in trace.commits],
    }
