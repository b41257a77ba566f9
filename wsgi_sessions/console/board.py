"""The board: all panels, in their order. One that fails says why, and the others are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.markup import joined, paragraph
from wsgi_sessions.console.panels.conflicts import conflicts
from wsgi_sessions.console.panels.ends import ends
from wsgi_sessions.console.panels.heavy import heavy
from wsgi_sessions.console.panels.leases import leases
from wsgi_sessions.console.panels.live import live
from wsgi_sessions.console.panels.store import store
from wsgi_sessions.console.panels.versions import versions
from wsgi_sessions.errors import SessionError
from wsgi_sessions.operations.words import timestamp
from wsgi_sessions.stack.config import with_variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.console.view import View

_log = texts.log(__name__)
_CARD = Markup(
    '<section class="card" id="{name}" aria-labelledby="{name}-title">'
    '<h2 id="{name}-title">{title}</h2>{body}</section>'
)
_BOARD = Markup('<div id="board"><p class="quiet" id="as-of">As of {} UTC</p>{}</div>')


@texts.shows("name")
class Panel(NamedTuple):
    """A part of the page; `make` raises SessionError if the store does not answer."""

    name: str
    title: str
    make: Callable[[View], Markup]


PANELS = (
    Panel("store", "Store", store),
    Panel("live", "Live sessions", live),
    Panel("ends", "Ends by reason", ends),
    Panel("conflicts", "Conflicts", conflicts),
    Panel("heavy", "Largest and most written", heavy),
    Panel("leases", "In use", leases),
    Panel("versions", "Version stamps", versions),
)


def board(view: View) -> Markup:
    """Return all panels. If the store does not answer, only its own panel asks it."""
    is_up = view.health().healthy
    cards = joined(_card(panel, view, is_up=is_up) for panel in PANELS)
    return _BOARD.format(timestamp(view.clock()), cards)


def _card(panel: Panel, view: View, *, is_up: bool) -> Markup:
    if is_up or panel.make is store:
        body = _tried(panel, view)
    else:
        body = paragraph("Not asked: the store does not answer.", "quiet")
    return _CARD.format(name=panel.name, title=panel.title, body=body)


def _tried(panel: Panel, view: View) -> Markup:
    try:
        return panel.make(view)
    except SessionError as error:
        return paragraph(f"Could not be read: {with_variables(str(error))}", "status bad")
    except Exception as error:  # noqa: BLE001  # the others are to be shown, whatever a driver raises
        _log.exception("the panel %s of the console failed", panel.name)
        text = f"Could not be made: {type(error).__name__}; the console's own output has more."
        return paragraph(text, "status bad")
