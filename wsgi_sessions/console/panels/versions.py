"""Version stamps: the latest bumps, and how many sessions are behind."""

from __future__ import annotations

from collections import Counter
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import NOTHING, joined, paragraph, since, table
from wsgi_sessions.console.panels.leases import NOT_KEPT
from wsgi_sessions.stack.versions import open_versions
from wsgi_sessions.stores.memory.versions import MemoryVersions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.view import View
    from wsgi_sessions.contract import Bump, VersionStamps
    from wsgi_sessions.operations.sampling import Sample

_SHOWN = 8
_TOLD = "Scopes of the settings, and the most common ones of the sessions that were read."
_HEADS = ("Scope", "Version", "Last bump", "In the last hour", "Sessions behind")


def versions(view: View) -> Markup:
    """Return the scopes of the settings and of the sampled sessions, with their bumps."""
    if view.backend.versions is None and view.config.version.url is None:
        return paragraph(NOT_KEPT, "quiet")
    sample = view.sample()
    names = _scopes(view, sample)
    stamps, opened = open_versions(view.config, view.backend)
    with nullcontext() if opened is None else closing(opened):
        if isinstance(stamps, MemoryVersions):
            return paragraph("Kept in each server process, and visible only there.", "quiet")
        rows = list(_rows(stamps, names, sample))
    if not any(row[1] for row in rows):
        return paragraph("No scope was ever bumped.", "quiet")
    return joined((paragraph(_TOLD, "quiet"), table(_HEADS, rows)))


def _scopes(view: View, sample: Sample) -> list[str]:
    """Return those without a key in braces, then those that most sessions have."""
    named = [scope for scope in view.config.version.scopes or ("global",) if "{" not in scope]
    used = Counter(scope for each in sample.sessions for scope in each.stamps)
    return list(dict.fromkeys([*named, *(scope for scope, _ in used.most_common(_SHOWN))]))


def _rows(
    stamps: VersionStamps, names: Sequence[str], sample: Sample
) -> Iterator[Sequence[object]]:
    current = stamps.current(names[:_SHOWN])
    for scope in names[:_SHOWN]:
        with_it = [each.stamps[scope] for each in sample.sessions if scope in each.stamps]
        behind = sum(version < current[scope] for version in with_it)
        share = f"{behind:,d} of {len(with_it):,d} read" if with_it else NOTHING
        yield scope, current[scope], *_bumps(stamps.history(scope), sample.at), share


def _bumps(history: Sequence[Bump], now: float) -> tuple[object, object]:
    """Return the time of the last bump, and the number of those in the hour before now."""
    if not history:
        return NOTHING, NOTHING
    recent = sum(now - bump.at < 3600 for bump in history)
    more = " or more" if recent == len(history) > 1 else ""
    return since(history[0].at, now), f"{recent}{more}"
