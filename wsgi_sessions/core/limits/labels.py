"""The label of a session: the device that it is on, in words for its user. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import UnserializableValue

if TYPE_CHECKING:
    from wsgi_sessions.core.draft import Draft
    from wsgi_sessions.core.record.envelope import Envelope

LABEL = "label"
LABEL_LENGTH = 200


def label_of(stored: Draft | Envelope) -> str | None:
    """Return the label of a session, or None. Raises CorruptRecord."""
    value: str | None = stored.get_metadata(LABEL)
    return value


def set_label(draft: Draft, words: str | None) -> None:
    """Set or (None) remove the label. Raises UnserializableValue unless it is a short text."""
    if words is not None and not (isinstance(words, str) and 0 < len(words) <= LABEL_LENGTH):
        raise UnserializableValue(LABEL, f"must be None, or text of 1 to {LABEL_LENGTH} characters")
    draft.set_metadata(LABEL, None if words is None else str.__str__(words))
