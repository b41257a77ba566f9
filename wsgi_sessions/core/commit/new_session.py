"""A new session that no request made, but an importer or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping


@texts.shows("route")
class NewSession(NamedTuple):
    """The start of a session: the application's data, metadata, and the route for reports."""

    data: Mapping[str, object]
    metadata: Mapping[str, object]
    route: str

    def draft(self) -> Draft:
        """Return a draft that holds it. Raises UnserializableValue."""
        draft = Draft(None)
        for name, value in self.data.items():
            draft.data.set(name, value)
        for name, value in self.metadata.items():
            draft.set_metadata(name, value)
        return draft
