"""Version stamps: the latest bumps, and how many sessions are behind."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.settings.kinds import HOUR
from wsgi_sessions.stack.versions import open_versions
from wsgi_sessions.stores.memory.versions import MemoryVersions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.console.view import View
    from wsgi_sessions.contract import VersionStamps
    from wsgi_sessions.operations.sampling import Sample

_SHOWN = 8


@texts.shows("scope", "version")
class ScopeNumbers(Struct, frozen=True):
    """One scope: its version, its bumps, and the sessions read that have it or are behind.

    `bumps` are those of the last hour; there may be more unless `is_all`. `last_bump_at` is in
    seconds since the epoch; None: there was none.
    """

    scope: str
    version: int
    last_bump_at: float | None
    bumps: int
    is_all: bool
    sessions: int
    behind: int


@texts.shows("kept_in")
class VersionNumbers(Struct, frozen=True):
    """The scopes of the settings, and the most common ones of the sessions that were read.

    `kept_in`: "store", "nothing" (it has no stamps), or "each process", where nobody sees them.
    """

    kept_in: str
    at: float
    scopes: list[ScopeNumbers]


def version_numbers(view: View) -> VersionNumbers:
    """Return the scopes with their bumps. Raises StoreUnavailable."""
    if view.backend.versions is None and view.config.version.url is None:
        return VersionNumbers("nothing", view.clock(), [])
    sample = view.sample()
    stamps, opened = open_versions(view.config, view.backend)
    with nullcontext() if opened is None else closing(opened):
        if isinstance(stamps, MemoryVersions):
            return VersionNumbers("each process", sample.at, [])
        rows = list(_rows(stamps, _scopes(view, sample), sample))
    return VersionNumbers("store", sample.at, rows)


def _scopes(view: View, sample: Sample) -> list[str]:
    """Return those without a key in braces, then those that most sessions have."""
    named = [scope for scope in view.config.version.scopes or ("global",) if "{" not in scope]
    used = Counter(scope for each in sample.sessions for scope in each.stamps)
    return list(dict.fromkeys([*named, *(scope for scope, _ in used.most_common(_SHOWN))]))[:_SHOWN]


def _rows(stamps: VersionStamps, names: Sequence[str], sample: Sample) -> Iterator[ScopeNumbers]:
    current = stamps.current(names)
    for scope in names:
        with_it = [each.stamps[scope] for each in sample.sessions if scope in each.stamps]
        history = stamps.history(scope)
        recent = sum(sample.at - bump.at < HOUR for bump in history)
        yield ScopeNumbers(
            scope,
            current[scope],
            history[0].at if history else None,
            recent,
            recent < len(history) or recent <= 1,
            len(with_it),
            sum(version < current[scope] for version in with_it),
        )
