"""Version stamps: the latest bumps, and how many sessions are behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import NOTHING, joined, paragraph, since, table
from wsgi_sessions.console.panels.leases import NOT_KEPT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from wsgi_sessions.console.numbers.versions import ScopeNumbers, VersionNumbers

_TOLD = "Scopes of the settings, and the most common ones of the sessions that were read."
_HEADS = ("Scope", "Version", "Last bump", "In the last hour", "Sessions behind")


def versions(numbers: VersionNumbers) -> Markup:
    """Return the scopes of the settings and of the sampled sessions, with their bumps."""
    if numbers.kept_in == "nothing":
        return paragraph(NOT_KEPT, "quiet")
    if numbers.kept_in == "each process":
        return paragraph("Kept in each server process, and visible only there.", "quiet")
    if not any(each.version for each in numbers.scopes):
        return paragraph("No scope was ever bumped.", "quiet")
    rows = [_row(each, numbers.at) for each in numbers.scopes]
    return joined((paragraph(_TOLD, "quiet"), table(_HEADS, rows)))


def _row(scope: ScopeNumbers, now: float) -> Sequence[object]:
    if scope.last_bump_at is None:
        return scope.scope, scope.version, NOTHING, NOTHING, _behind(scope)
    recent = f"{scope.bumps}{'' if scope.is_all else ' or more'}"
    return scope.scope, scope.version, since(scope.last_bump_at, now), recent, _behind(scope)


def _behind(scope: ScopeNumbers) -> str:
    return f"{scope.behind:,d} of {scope.sessions:,d} read" if scope.sessions else NOTHING
