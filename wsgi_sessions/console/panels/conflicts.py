"""Conflicts: where they come from, and what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions.console.markup import NOTHING, joined, paragraph, table
from wsgi_sessions.metrics.catalogue import CONFLICTS

if TYPE_CHECKING:
    from wsgi_sessions.console.numbers.conflicts import ConflictNumbers

_HEADS = ("Routes", "Sessions")
_ADVICE = Markup(
    '<p class="quiet">Overlapping writes are merged. Only if two requests set the same value does '
    "the later commit stand: the log has that as <code>conflict</code>, with the key and both "
    "routes. There, use <code>session.increment</code> or <code>append</code>, or "
    "<code>exclusive</code>: by path in <code>WSGI_SESSIONS_EXCLUSIVE_PATHS</code>.</p>"
)
_ELSEWHERE = Markup(
    '<p class="quiet">Conflicts by key are counted by the workers, as <code>{}</code>: start the '
    "console with <code>--metrics URL</code> of <code>WSGI_SESSIONS_METRICS_PATH</code>.</p>"
).format(CONFLICTS.full_name)
_KEYS = ("Key", "Kind", "Times", "Use")


def conflicts(numbers: ConflictNumbers) -> Markup:
    """Return the keys that conflicted, the routes that write at the same time, and the advice."""
    return joined((_counted(numbers), _overlapping(numbers), _ADVICE))


def both(first: str, second: str) -> str:
    """Return two routes in words."""
    return f"{first}, twice" if first == second else f"{first} and {second}"


def _overlapping(numbers: ConflictNumbers) -> Markup:
    if not numbers.overlaps:
        return paragraph("No two requests wrote to one session at the same time.")
    rows = [(both(*each.routes), f"{each.sessions:,d}") for each in numbers.overlaps]
    basis = numbers.basis.in_words()
    told = f"Routes that lately wrote to one session within a second. {basis}"
    return joined((paragraph(told, "quiet"), table(_HEADS, rows)))


def _counted(numbers: ConflictNumbers) -> Markup:
    """Return the conflicts that a server's workers counted since it started."""
    if numbers.error is not None:
        return paragraph(numbers.error, "status warning")
    if numbers.counted is None:
        return _ELSEWHERE
    if not numbers.counted:
        return paragraph("No conflict since the server started.")
    rows = [
        (each.key, each.kind, f"{each.times:,d}", each.remedy or NOTHING)
        for each in numbers.counted
    ]
    return joined((paragraph("Counted since the server started", "subtitle"), table(_KEYS, rows)))
