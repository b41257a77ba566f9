"""The largest and the most-written sessions of the sample."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.console.numbers.live import SampleBasis
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsgi_sessions.console.view import View
    from wsgi_sessions.operations.sampling import SampledSession

_SHOWN = 5


@texts.shows("key", "size")
class LargeSession(Struct, frozen=True):
    """One session by its short key: its size in bytes, and its user's pseudonym in the log."""

    key: str
    size: int
    user: str
    last_used_at: float


@texts.shows("key", "commits")
class WrittenSession(Struct, frozen=True):
    """One session by its short key: its commits, how many an hour, and the route of the last."""

    key: str
    commits: int
    per_hour: float
    route: str | None


@texts.shows("basis")
class HeavyNumbers(Struct, frozen=True):
    """The sessions that cost most; `limit` is the most bytes that a session may have."""

    basis: SampleBasis
    at: float
    limit: int
    largest: list[LargeSession]
    most_written: list[WrittenSession]


def heavy_numbers(view: View) -> HeavyNumbers:
    """Return the sessions that cost most, by size and by commits. Raises StoreUnavailable."""
    sample = view.sample()
    large = nlargest(_SHOWN, sample.sessions, key=lambda each: each.size)
    written = nlargest(_SHOWN, sample.sessions, key=lambda each: each.version)
    view.remember(each.session.key for each in (*large, *written))
    return HeavyNumbers(
        SampleBasis.of(sample),
        sample.at,
        view.config.max_size,
        _largest(view, large),
        _most_written(written, sample.at),
    )


def _largest(view: View, sessions: Sequence[SampledSession]) -> list[LargeSession]:
    return [
        LargeSession(
            short_key(each.session.key),
            each.size,
            view.pseudonym(each.user),
            each.session.last_used_at,
        )
        for each in sessions
    ]


def _most_written(sessions: Sequence[SampledSession], now: float) -> list[WrittenSession]:
    return [
        WrittenSession(
            short_key(each.session.key),
            each.version,
            each.version * 3600 / max(now - each.session.created_at, 60),
            each.commits[-1].route if each.commits else None,
        )
        for each in sessions
    ]
