"""The keys of a session: which are allowed, and how an error shows one."""

from __future__ import annotations

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import is_unicode
from wsgi_sessions.errors import UnserializableValue


def check_key(key: object) -> None:
    """Raise UnserializableValue for a key that cannot be stored."""
    if type(key) is not str:
        raise UnserializableValue(texts.quoted(key), "the keys of a session must be plain strings")
    if not is_unicode(key):
        raise UnserializableValue(ascii(key)[:40], "the keys of a session must be valid Unicode")


def shown(key: object) -> str:
    """Return a key as a message may hold it: a client may have chosen its name."""
    return texts.named(key) if isinstance(key, str) else texts.quoted(key)
