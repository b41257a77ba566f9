"""One request's view of a session's values: decoded when read, remembered when changed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.merge import ABSENT, Append, Assign, Delta, Increment, Operate, Operation, merge
from wsgi_sessions.serialization import IMMUTABLE, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal

    from msgspec import Raw

    from wsgi_sessions.merge import Change

    Encode = Callable[[object, str], bytes]

_NO_KEYS: frozenset[str] = frozenset()


class Workspace:
    """Values over an encoded `base`, and the delta since.

    A value is decoded at its first read and then kept, so that what the application mutates in
    place is found: at `delta()`, what was read and is mutable is encoded again and compared. So is
    what `encode` takes beside the types of `wsgi_sessions.serialization`.
    """

    __slots__ = (
        "_assigned",
        "_base",
        "_defaults",
        "_deleted",
        "_encode",
        "_operations",
        "_seen",
        "_values",
    )

    def __init__(self, base: Mapping[str, Raw], encode: Encode = encode) -> None:
        self._base = base
        self._encode = encode
        self._values: dict[str, Any] = {}
        self._seen: set[str] = set()
        self._assigned: dict[str, bytes] = {}
        self._operations: dict[str, list[Operation]] = {}
        # Most requests need no set of these, so that nobody has one of his own before he does.
        self._defaults = self._deleted = _NO_KEYS

    def get(self, key: str) -> Any:
        """The value, or ABSENT. The key counts as read: what is set later may depend on it."""
        if key not in self._assigned and key not in self._deleted:
            self._seen.add(key)
        return self.peek(key)

    def set(self, key: str, value: object) -> None:
        """Assign a value: a write, whatever was there, also this very value.

        Raises UnserializableValue, changing nothing, if it cannot be kept.
        """
        self._assigned[key] = self._encode(value, key)
        self._operations.pop(key, None)
        if self._defaults or self._deleted:
            self._defaults -= {key}
            self._deleted -= {key}
        self._values[key] = value

    def put(self, key: str, value: object) -> None:
        """Assign a value, unless it is what the key has. Raises UnserializableValue."""
        if not self.has(key) or self._encode(self.peek(key), key) != self._encode(value, key):
            self.set(key, value)

    def default(self, key: str, value: object) -> Any:
        """The value of a key; if it is absent, assign this one, unless another request did.

        The key does not count as read. Raises UnserializableValue, changing nothing.
        """
        if not self.has(key):
            self.set(key, value)
            self._defaults |= {key}
        return self.peek(key)

    def delete(self, key: str) -> None:
        """Delete a key that is there."""
        self._operations.pop(key, None)
        self._assigned.pop(key, None)
        self._defaults -= {key}
        self._values.pop(key, None)
        if key in self._base:
            self._deleted |= {key}

    def increment(self, key: str, by: int | float | Decimal) -> Any:
        """Add to a number and return the sum as this request sees it."""
        operation = Increment(by)
        value = operation.apply(self.peek(key))
        self._operate(key, operation, value)
        return value

    def append(self, key: str, item: object) -> None:
        """Append to a list. The item is encoded now: changing it later is a change of the list."""
        operation = Append(self._encode(item, key))
        value = self.peek(key)
        if isinstance(value, list):
            value.append(item)  # in place: the application may hold this very list
        else:
            value = operation.apply(value)
        self._operate(key, operation, value)

    def __contains__(self, key: str) -> bool:
        self._seen.add(key)
        return self.has(key)

    def __iter__(self) -> Iterator[str]:
        """The keys: the stored ones in their order, then new ones in theirs."""
        keys = [key for key in self._base if key not in self._deleted]
        keys += [key for key in self._values if key not in self._base]
        self._seen.update(keys)
        return iter(keys)

    def __len__(self) -> int:
        new = sum(key not in self._base for key in self._values)
        return len(self._base) - len(self._deleted) + new

    def delta(self) -> Delta:
        """What has changed since the base. Raises UnserializableValue with the path of a value."""
        delta: Delta = {}
        if not (self._values or self._deleted):
            return delta
        for key, value in self._values.items():
            if key in self._assigned or key in self._operations or type(value) not in IMMUTABLE:
                change = self._change(key, value)
                if change is not None:
                    delta[key] = change
        for key in self._deleted:
            if key in self._base:
                delta[key] = Assign(None, self._basis(key))
        return delta

    def is_set(self, key: str) -> bool:
        """Whether this request assigned the key, be it to an equal value, changed or deleted it."""
        return key in self._assigned or key in self._deleted or self.is_changed(key)

    def is_assigned(self, key: str) -> bool:
        """Whether this request assigned the key, and did not delete it since."""
        return key in self._assigned

    def is_another(self, key: str) -> bool:
        """Whether the key appeared, went, or has another value than the base."""
        if key in self._deleted:
            return True
        if key not in self._values or (key in self._base and not self._may_differ(key)):
            return False
        return key not in self._base or not self._is_as(self._values[key], self._base[key])

    def stored(self, key: str) -> Any:
        """The value in the base, or ABSENT."""
        return decode(self._base[key]) if key in self._base else ABSENT

    def may_differ(self, keys: frozenset[str]) -> bool:
        """Whether one of these keys was assigned, operated on or deleted, or is read and mutable.

        Asked first, as a cheap look: most requests have done none of it.
        """
        return any(map(self._may_differ, keys & self._values.keys())) or not keys.isdisjoint(
            self._deleted
        )

    def is_changed(self, key: str) -> bool:
        """Whether this request gave the key another value (deleting it is none)."""
        if key not in self._values or self._change(key, self._values[key]) is None:
            return False
        return key not in self._base or not self._is_as(self._values[key], self._base[key])

    def rebase(self, base: Mapping[str, Raw]) -> None:
        """Put the changes made so far onto another base, merged; they stay pending."""
        delta = self.delta()
        self._replay(base, delta, merge(self._base, delta, base).data)

    def settle(self, base: Mapping[str, Raw]) -> None:
        """As `rebase`, where some of the changes are in `base` by now: those are done."""
        delta = {k: c for k, c in self.delta().items() if not _is_done(c, base.get(k))}
        self._replay(base, delta, merge(self._base, delta, base).data)

    def restore(self, delta: Delta) -> None:
        """Back to what `delta()` was: undo what was changed since."""
        self._replay(self._base, delta, merge(self._base, delta, self._base).data)

    def _replay(self, base: Mapping[str, Raw], delta: Delta, merged: Mapping[str, Raw]) -> None:
        self.reset(base)
        for key, change in delta.items():
            if key not in merged:
                self.delete(key)
                continue
            value = decode(merged[key])
            if isinstance(change, Operate):
                self._values[key] = value
                self._operations[key] = list(change.operations)
            elif change.basis == "default":
                self.default(key, value)
            else:
                self.set(key, value)

    def reset(self, base: Mapping[str, Raw]) -> None:
        """Forget all changes; see `base` from now on.

        A value that stands as it is in the new base is kept: the application may hold it, and what
        it still does to it is a change of the new base.
        """
        old, seen = self._values, self._seen
        Workspace.__init__(self, base, self._encode)
        self._seen = seen  # the application still knows what it has looked at
        for key, value in old.items():
            if type(value) not in IMMUTABLE and key in base and self._is_as(value, base[key]):
                self._values[key] = value
                self._seen.add(key)

    def accept(self, encode: Encode) -> None:
        """Encode by this from now on."""
        self._encode = encode

    def has(self, key: str) -> bool:
        """Whether the key is there. It does not count as read."""
        return key in self._values or (key in self._base and key not in self._deleted)

    def peek(self, key: str) -> Any:
        """The value, or ABSENT. It does not count as read."""
        if key in self._values:
            return self._values[key]
        if key in self._deleted or key not in self._base:
            return ABSENT
        value = self._values[key] = decode(self._base[key])
        return value

    def _may_differ(self, key: str) -> bool:
        return (
            key in self._assigned
            or key in self._operations
            or type(self._values[key]) not in IMMUTABLE
        )

    def _operate(self, key: str, operation: Operation, value: object) -> None:
        self._values[key] = value
        self._defaults -= {key}  # what counts on a default is no default any more
        if key in self._deleted:  # deleted, then begun again: no longer about what was stored
            self.set(key, value)
        elif key in self._assigned:
            self._assigned[key] = self._encode(value, key)
        else:
            self._operations.setdefault(key, []).append(operation)

    def _change(self, key: str, value: object) -> Change | None:
        operations, mutable = self._operations.get(key), type(value) not in IMMUTABLE
        data = None if mutable else self._assigned.get(key)
        if data is None:
            if operations is None and not mutable:
                return None
            data = self._encode(value, key)
        if operations is not None and data == self._operated(key, operations):
            return Operate(tuple(operations), data)
        if key not in self._assigned and key in self._base and data == bytes(self._base[key]):
            return None
        if key in self._defaults and data == self._assigned[key]:
            return Assign(data, "default")
        return Assign(data, self._basis(key))

    def _operated(self, key: str, operations: list[Operation]) -> bytes:
        value = self.stored(key)
        for operation in operations:
            value = operation.apply(value)
        return encode(value, key)

    def _is_as(self, value: object, stored: Raw) -> bool:
        return self._encode(value, "value") == bytes(stored)

    def _basis(self, key: str) -> Any:
        return "read" if key in self._seen else "blind"


def _is_done(change: Change, stored: Raw | None) -> bool:
    value = change.value if isinstance(change, Assign) else change.result
    return value == (None if stored is None else bytes(stored))
