"""The name of a Flask application, if no setting has one; see `stack.applications`.

Two applications with one import name, in one process and one store, are separate if they have no
key in common: neither can read a cookie of the other. With a common key they count as one, as when
a factory is called twice.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

from wsgi_sessions.contrib.flask.overrides import settings_of
from wsgi_sessions.stack.applications import Application, numbered, of_flask

if TYPE_CHECKING:
    from flask import Flask

_URL = "WSGI_SESSIONS_URL"
_SECRETS = ("WSGI_SESSIONS_SECRET_KEYS", "SECRET_KEY", "SECRET_KEY_FALLBACKS")


class _Place:
    """The place of an application among those of its name. Its number stays, even if others end."""

    def __init__(self, app: Flask) -> None:
        self.app = weakref.ref(app)
        self.number: int | None = None
        self.keys: set[object] = set()


def enlist(app: Flask) -> None:
    """Count an application from its set-up on: the order of first requests may differ."""
    made = _made(_derived(app).name)
    made[:] = [place for place in made if place.app() is not None]
    if app not in (place.app() for place in made):
        made.append(_Place(app))


def application_of(app: Flask) -> Application:
    """Return its derived name, with a number if it is not the first application of that name."""
    derived = _derived(app)
    number = 1
    neighbours: list[_Place] = []
    for place in _made(derived.name):
        known = place.app()
        if known is None or known.config.get(_URL) != app.config.get(_URL):
            continue
        if not place.keys:  # an application without keys yet keeps its place
            place.keys = _keys_of(known)
            place.number = _common(place, neighbours) or place.number or _next(neighbours)
        neighbours.append(place)
        if known is app:
            number = place.number or 1
    return numbered(derived, number)


def _common(place: _Place, others: list[_Place]) -> int | None:
    return next((other.number for other in others if other.keys & place.keys), None)


def _next(others: list[_Place]) -> int:
    return 1 + max((other.number or 0 for other in others), default=0)


def _derived(app: Flask) -> Application:
    return of_flask(app.import_name, app.root_path)


@cache
def _made(_name: str) -> list[_Place]:
    """Return the applications of a name in this process: the list belongs to the process."""
    return []


def _keys_of(app: Flask) -> set[object]:
    settings = settings_of(app)
    return {key for name in _SECRETS for key in _listed(settings.get(name))}


def _listed(value: Any) -> list[object]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value] if value else []
