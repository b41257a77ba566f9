"""Messages in the session, each under a key of its own, so that overlapping requests merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.messages.storage.base import Message
from django.contrib.messages.storage.session import SessionStorage
from django.utils.safestring import SafeString

from wsgi_sessions.core.values.timed_keys import timed_key

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = "_stored_as"


class MessageStorage(SessionStorage):  # type: ignore[misc]  # Django has no annotations
    """Django's messages, kept in the session without conflicts::

        MESSAGE_STORAGE = "wsgi_sessions.contrib.django.MessageStorage"

    Django's own storages keep all messages as one text: if two requests overlap, one loses its
    messages, or brings back those that the other has shown. Here an added message stays, and a
    shown one goes, even if requests overlap. Messages that Django's own storage has left in a
    session are shown too.

    Not promised: that only one of two pages that are loaded at the same moment shows a message.
    """

    def _get(self, *_: Any, **__: Any) -> tuple[list[Message] | None, bool]:
        kept = self.request.session.get(self.session_key)
        if not isinstance(kept, dict):
            return self.deserialize_messages(kept), True
        return [_restored(key, kept[key]) for key in sorted(kept)], True

    def _store(self, messages: Sequence[Message], *_: Any, **__: Any) -> list[Message]:
        session = self.request.session
        loaded = self.__dict__.get("_loaded_data") or []
        if not messages and not loaded:
            return []
        if not isinstance(session.get(self.session_key, {}), dict):
            session[self.session_key] = {}  # as Django's own storage has it
        box = session.setdefault(self.session_key, {})
        staying = {getattr(message, _KEY, None) for message in messages}
        for key in [key for message in loaded if (key := getattr(message, _KEY, None))]:
            if key not in staying:
                box.pop(key, None)
        for message in messages:
            if not hasattr(message, _KEY):
                box[timed_key(box)] = [message.level, message.message, message.extra_tags]
        session.modified = True
        return []


def _restored(key: str, kept: Any) -> Message:
    level, text, extra_tags = kept
    # As Django's own storages have it; it was safe when it was stored.
    message = Message(level, SafeString(text) if hasattr(text, "__html__") else text, extra_tags)
    setattr(message, _KEY, key)
    return message
