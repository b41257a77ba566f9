"""The command that tells what happened to sessions, and why they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wsgi_sessions.cli.moments import moment_option
from wsgi_sessions.cli.output import json_option, print_json, say, timestamp, until
from wsgi_sessions.cli.shell import answering_store, read_config, store_key, url_option
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.story import AROUND_SECONDS
from wsgi_sessions.operations.teller import MOST, MOST_AROUND, teller_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.operations.story import Story
    from wsgi_sessions.operations.teller import Teller
    from wsgi_sessions.stack.config import Config

_CLOCKS_DIFFER = 1.0


class _Account(NamedTuple):
    """The stories that were asked for, and what they cannot tell."""

    stories: list[Story]
    at: float | None
    store_ahead: float | None
    gaps: list[str]


@click.command()
@click.argument("key", callback=store_key, required=False)
@click.option("--principal", metavar="P", help="The sessions of this user, live and ended.")
@click.option(
    "--at",
    callback=moment_option,
    metavar="TIME",
    help="Only sessions around this time: 14:03 (UTC, the last one), or 2026-11-30T14:03.",
)
@url_option
@json_option
def explain(
    key: str | None, principal: str | None, at: float | None, url: str | None, *, as_json: bool
) -> None:
    """Tell what happened to sessions, and why they ended.

    KEY is a store key or the beginning of one, as the log shows it. Times are UTC, by the clock of
    the process that took the step.
    """
    if (key is None) == (principal is None):
        raise click.UsageError("give either KEY or --principal")
    config = read_config(url)
    with answering_store(config, "look") as backend:
        account = _account(teller_on(backend, config), config, key, principal, at)
    if as_json:
        print_json(_as_dict(account))
        return
    for line in _lines(account):
        say(line)


def _account(
    teller: Teller, config: Config, key: str | None, principal: str | None, at: float | None
) -> _Account:
    most = MOST if at is None else MOST_AROUND
    found = teller.of_key(key, most) if key is not None else teller.of_user(str(principal), most)
    if at is not None:
        found = [story for story in found if story.is_near(at)]
    return _Account(found, at, teller.store_ahead(), list(teller.gaps(config.endings_kept)))


def _lines(account: _Account) -> Iterator[str]:
    if account.at is not None:
        minutes = f"{AROUND_SECONDS / 60:.0f} min"
        yield f"around {timestamp(account.at)} UTC: sessions of then, and {minutes} about it"
    for story in account.stories:
        yield from _told(story, account.at)
    if not account.stories:
        yield "no session, and no trace of an end"
    ahead = account.store_ahead
    if ahead is not None and abs(ahead) >= _CLOCKS_DIFFER:
        yield f"the store's clock is {ahead:+.0f} s off this machine's"
    yield "not known here:"
    yield from (f"  {gap}" for gap in account.gaps)


def _told(story: Story, at: float | None) -> Iterator[str]:
    state = _GONE if story.is_inferred else _STATES[story.state]
    yield f"session {short_key(story.key)}, {state}"
    if story.chain is not None:
        yield f"  had other ids before, the first one as session {story.chain}"
    is_told = at is None
    for step in story.steps:
        if at is not None and not is_told and step.at > at:
            yield f"  {timestamp(at)}  -- the time asked for --"
            is_told = True
        yield f"  {timestamp(step.at)}  {step.words}"
    if at is not None and not is_told:
        yield f"  {timestamp(at)}  -- the time asked for --"
    if story.expires_at is not None:
        yield f"  expires {until(story.expires_at, wall_clock())}, unless it is used"


_GONE = "gone, expired-idle most likely: the server deleted it, and other ends leave a trace"
_STATES = {
    "live": "live",
    "expired": "expired, its record not swept yet",
    "damaged": "damaged: its record is set aside at its next use",
    "ended": "ended",
}


def _as_dict(account: _Account) -> dict[str, Any]:
    return {
        "at": account.at,
        "store_clock_ahead": account.store_ahead,
        "sessions": [_story_as_dict(story) for story in account.stories],
        "not_known": account.gaps,
    }


def _story_as_dict(story: Story) -> dict[str, Any]:
    trace = story.trace
    steps = [{"at": step.at, "what": step.what, "words": step.words} for step in story.steps]
    end = {
        "by": None if trace is None else trace.by,
        "route": None if trace is None else trace.route,
        "detail": None if trace is None else trace.detail,
        "process": None if trace is None else trace.process,
        "successor": None if trace is None else trace.successor and short_key(trace.successor),
    }
    return {
        "key": short_key(story.key),
        "state": story.state,
        "user": story.user,
        "first_id": story.chain,
        "expires_at": story.expires_at,
        "why": story.why,
        "is_inferred": story.is_inferred,
        "steps": steps,
        **end,
    }
