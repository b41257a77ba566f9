"""Conflicts: where they come from.

A store keeps which routes committed to a session lately, but not which of their changes
conflicted: a server's metrics have that.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.console.numbers.live import SampleBasis
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.metrics.catalogue import CONFLICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.console.view import View
    from wsgi_sessions.core.record.history import Commit

_SHOWN = 8
_SECONDS = 1.0
_REMEDIES = {
    "overwritten": "append, increment or exclusive",
    "identical": "increment, if it is a counter",
}


@texts.shows("key", "kind", "times")
class KeyConflicts(Struct, frozen=True):
    """The conflicts of one key since the server started; `remedy` is what to use, or None."""

    key: str
    kind: str
    times: int
    remedy: str | None


@texts.shows("routes", "sessions")
class RoutePair(Struct, frozen=True):
    """Two routes that lately wrote to so many sessions within a second of each other."""

    routes: tuple[str, str]
    sessions: int


@texts.shows()
class ConflictNumbers(Struct, frozen=True):
    """The conflicts that are known.

    `counted` are those that a server's workers counted, most first; None: no metrics were named, or
    they could not be read, and `error` says why.
    """

    counted: list[KeyConflicts] | None
    error: str | None
    basis: SampleBasis
    overlaps: list[RoutePair]


def conflict_numbers(view: View) -> ConflictNumbers:
    """Return the keys that conflicted, and the routes that write together.

    Raises StoreUnavailable.
    """
    sample, error, counted = view.sample(), None, None
    pairs = Counter(pair for each in sample.sessions for pair in set(_overlaps(each.commits)))
    try:
        counted = None if view.metrics is None else list(_counted(view))
    except StoreUnavailable as fault:
        error = str(fault)
    overlaps = [RoutePair(pair, number) for pair, number in pairs.most_common(_SHOWN)]
    return ConflictNumbers(counted, error, SampleBasis.of(sample), overlaps)


def _counted(view: View) -> Iterator[KeyConflicts]:
    found = [] if view.metrics is None else view.metrics.read(CONFLICTS.full_name)
    for one in sorted(found, key=lambda one: -one.value)[:_SHOWN]:
        kind = one.labels.get("kind", "")
        yield KeyConflicts(one.labels.get("key", ""), kind, round(one.value), _REMEDIES.get(kind))


def _overlaps(commits: Sequence[Commit]) -> Iterator[tuple[str, str]]:
    for former, latter in pairwise(commits):
        if latter.at - former.at <= _SECONDS:
            first, second = sorted((former.route, latter.route))
            yield first, second
