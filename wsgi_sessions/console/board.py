"""The board: all panels, in their order. One that fails says why, and the others are there."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from wsgi_sessions.console.markup import joined, paragraph
from wsgi_sessions.console.numbers.collected import TITLES, Untold, collect
from wsgi_sessions.console.panels.conflicts import conflicts
from wsgi_sessions.console.panels.ends import ends
from wsgi_sessions.console.panels.heavy import heavy
from wsgi_sessions.console.panels.leases import leases
from wsgi_sessions.console.panels.live import live
from wsgi_sessions.console.panels.store import store
from wsgi_sessions.console.panels.versions import versions
from wsgi_sessions.operations.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.console.view import View

_CARD = Markup(
    '<section class="card" id="{name}" aria-labelledby="{name}-title">'
    '<h2 id="{name}-title">{title}</h2>{body}</section>'
)
_BOARD = Markup('<div id="board"><p class="quiet" id="as-of">As of {} UTC</p>{}</div>')
_PANELS: Mapping[str, Callable[[Any], Markup]] = MappingProxyType(
    {
        "store": store,
        "live": live,
        "ends": ends,
        "conflicts": conflicts,
        "heavy": heavy,
        "leases": leases,
        "versions": versions,
    }
)


def board(view: View) -> Markup:
    """Return all panels. If the store does not answer, only its own panel asks it."""
    cards = joined(_card(name, numbers) for name, numbers in collect(view).items())
    return _BOARD.format(timestamp(view.clock()), cards)


def _card(name: str, numbers: Any) -> Markup:
    if isinstance(numbers, Untold):
        body = paragraph(numbers.error, "status bad" if numbers.is_fault else "quiet")
    else:
        body = _PANELS[name](numbers)
    return _CARD.format(name=name, title=TITLES[name], body=body)
