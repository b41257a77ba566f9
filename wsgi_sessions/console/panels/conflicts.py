"""Conflicts: where they come from, and what to do about them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions.console.markup import NOTHING, joined, paragraph, table
from wsgi_sessions.console.panels.live import basis
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.metrics.catalogue import CONFLICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.console.view import View
    from wsgi_sessions.core.record.history import Commit

_SHOWN = 8
_SECONDS = 1.0
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
_REMEDIES = {
    "overwritten": "append, increment or exclusive",
    "identical": "increment, if it is a counter",
}


def conflicts(view: View) -> Markup:
    """Return the keys that conflicted, the routes that write at the same time, and the advice.

    A store keeps which routes committed to a session lately, but not which of their changes
    conflicted: a server's metrics have that.
    """
    return joined((_counted(view), _overlapping(view), _ADVICE))


def _overlapping(view: View) -> Markup:
    sample = view.sample()
    pairs = Counter(pair for each in sample.sessions for pair in set(_overlaps(each.commits)))
    if not pairs:
        return paragraph("No two requests wrote to one session at the same time.")
    rows = [(_both(*pair), f"{number:,d}") for pair, number in pairs.most_common(_SHOWN)]
    told = f"Routes that lately wrote to one session within a second. {basis(sample)}"
    return joined((paragraph(told, "quiet"), table(_HEADS, rows)))


def _counted(view: View) -> Markup:
    """Return the conflicts that a server's workers counted since it started."""
    if view.metrics is None:
        return _ELSEWHERE
    try:
        found = view.metrics.read(CONFLICTS.full_name)
    except StoreUnavailable as error:
        return paragraph(str(error), "status warning")
    counts = sorted(found, key=lambda one: -one.value)[:_SHOWN]
    if not counts:
        return paragraph("No conflict since the server started.")
    rows = [
        (one.labels.get("key", ""), kind, f"{one.value:,.0f}", _REMEDIES.get(kind, NOTHING))
        for one in counts
        for kind in [one.labels.get("kind", "")]
    ]
    return joined((paragraph("Counted since the server started", "subtitle"), table(_KEYS, rows)))


def _overlaps(commits: Sequence[Commit]) -> Iterator[tuple[str, str]]:
    for former, latter in pairwise(commits):
        if latter.at - former.at <= _SECONDS:
            first, second = sorted((former.route, latter.route))
            yield first, second


def _both(first: str, second: str) -> str:
    return f"{first}, twice" if first == second else f"{first} and {second}"
