"""References: values that an application may still hold after the session got others. Pure.

``cart = session["cart"]``, then a block that reads afresh, or the first chunk, whose commit merges
others' changes. The session updates the object that it gave out. It leaves objects that the
application made, and objects inside either, alone: other requests may use them too. Later changes
of those are found, and merged as if another request had made them.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Raw

from wsgi_sessions.core.merge.three_way import Merging
from wsgi_sessions.core.record.codec import IMMUTABLE, decode
from wsgi_sessions.errors import StaleValue, UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[object, str], bytes]


MOST_REFERENCES = 100
"""The most objects watched for one request: a socket may live for hours."""


def encoding(encode: Encode, key: str, value: object) -> bytes | None:
    """Return the encoding of an object; None if it has none, as after a block that failed."""
    try:
        return encode(value, key)
    except UnserializableValue:
        return None


class Reference:
    """An object that was under `key`, and its `encoding` then."""

    __slots__ = ("_has_changed", "_value", "encoded", "key")

    def __init__(self, key: str, value: object, encoded: bytes | None) -> None:
        self.key = key
        self._value = value
        self._has_changed = False
        self.encoded = encoded

    def merged(self, encode: Encode, current: bytes | None) -> bytes | None:
        """Return the object's changes since, merged onto the `current` value; None without any.

        Raises StaleValue if that is not possible.
        """
        before, now = self.encoded, encoding(encode, self.key, self._value)
        if now == before:
            return None
        if before is None or now is None:
            raise StaleValue(self.key)
        merging = Merging()
        theirs = None if current is None else Raw(current)
        value = merging.merged(self.key, Raw(before), Raw(now), theirs, after_read=False)
        if value is None or merging.conflicts:
            raise StaleValue(self.key)
        self.encoded, self._has_changed = now, True
        return bytes(value)

    def update(self, value: Any) -> bool:
        """Give the object the contents of another; return False, with nothing done, if that fails.

        From then on, this is a reference to its former contents.
        """
        held: Any = self._value
        if type(held) is not type(value) or not isinstance(held, (list, dict, set)):
            return False
        self._value = copy(held)
        held.clear()
        if isinstance(held, list):
            held.extend(value)
        else:
            held.update(value)
        return True

    def has_parts(self) -> bool:
        """Return whether it contains objects that may be held on their own."""
        held: Any = self._value
        parts = held.values() if isinstance(held, dict) else held
        return any(type(part) not in IMMUTABLE for part in parts)

    def is_to(self, key: str, value: object, encode: Encode) -> bool:
        """Return whether it is to this very object, changed since."""
        if self.key != key or self._value is not value:
            return False
        return self._has_changed or encoding(encode, self.key, self._value) != self.encoded


class PresentValues(Protocol):
    """The values that a session has now."""

    @property
    def encode(self) -> Encode: ...

    def encoded(self, key: str) -> bytes | None:
        """Return the value as it is encoded now, or None."""

    def put(self, key: str, value: object) -> Any:
        """Set a value. Return the one before, or None."""

    def is_assigned(self, key: str) -> bool:
        """Return whether the request assigned the key."""


class FormerValues:
    """The values that an application knows from before the session's present ones.

    `keys`: stored in a base that the application saw. `given`: keys whose object the application
    made. `references`: to objects that the session no longer has, or that were inside such objects.
    `views`: take over changes of objects that stand in for the session's.
    """

    __slots__ = ("given", "keys", "references", "views")

    def __init__(self) -> None:
        self.keys: frozenset[str] = frozenset()
        self.given: frozenset[str] = frozenset()
        self.references: tuple[Reference, ...] = ()
        self.views: tuple[Callable[[], None], ...] = ()

    def watch(self, take_over: Callable[[], None]) -> bool:
        """Call this before each `catch_up`, until an undone block; return whether that is new."""
        is_new = take_over not in self.views
        if is_new:
            self.views += (take_over,)
        return is_new

    def keep(self, present: PresentValues, key: str, value: object, *, is_given: bool) -> None:
        """Go on with an object that the application may hold, and may have given."""
        encoded, current = encoding(present.encode, key, value), present.encoded(key)
        if encoded is None or encoded != current:
            reference = Reference(key, value, encoded)
            is_updated = not is_given and current is not None and reference.update(decode(current))
            if not is_updated or reference.has_parts():
                self.references = (*self.references, reference)[-MOST_REFERENCES:]
            if not is_updated:
                return
        present.put(key, value)
        if is_given:
            self.given |= {key}

    def catch_up(self, present: PresentValues, *keys: str) -> None:
        """Take over changes of objects that the session no longer has, under `key` or all keys.

        Raises StaleValue and UnserializableValue.
        """
        for take_over in self.views:
            take_over()
        for reference in self.references:
            key = reference.key
            merged = None
            if not keys or key in keys:
                merged = reference.merged(present.encode, present.encoded(key))
            if merged is not None:
                held = present.put(key, decode(merged))
                if held is not None:
                    is_given = present.is_assigned(key) or key in self.given
                    self.keep(present, key, held, is_given=is_given)

    def is_put_back(self, present: PresentValues, key: str, value: object) -> bool:
        """Return whether an assigned object was the session's, and was changed in place since.

        That change is found in any case; any other assignment is the end of such objects.
        """
        if any(reference.is_to(key, value, present.encode) for reference in self.references):
            return True
        self.let_go(key)
        return False

    def let_go(self, key: str) -> None:
        """Forget the objects that were under a key."""
        self.references = tuple(r for r in self.references if r.key != key)
