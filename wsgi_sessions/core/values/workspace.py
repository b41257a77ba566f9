"""One request's view of a session's values: decoded when read, recorded when changed. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.core.merge.delta import (
    ABSENT,
    Append,
    Assign,
    Increment,
    Mutate,
    Operate,
    apply,
    is_done,
    merge,
    operated,
)
from wsgi_sessions.core.record.codec import IMMUTABLE, decode, encode
from wsgi_sessions.core.values.references import FormerValues
from wsgi_sessions.core.values.replay import redo
from wsgi_sessions.errors import StaleValue, UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set
    from decimal import Decimal

    from msgspec import Raw

    from wsgi_sessions.core.merge.delta import Change, Delta, Merged, Operation
    from wsgi_sessions.core.merge.rules import MergeRules
    from wsgi_sessions.core.values.references import Encode

_EMPTY_LIST = encode([])
_NO_KEYS: frozenset[str] = frozenset()


@texts.shows()
class Workspace(Struct, eq=False):
    """Values over an encoded `base`, and the delta since.

    A value is decoded at its first read and then kept, so that changes in place are found:
    `delta()` encodes every mutable value that was read again, and compares. It does the same with
    values that `encode` takes beside the types of `wsgi_sessions.core.record.codec`.
    """

    _base: Mapping[str, Raw]
    encode: Encode = encode
    _values: dict[str, Any] = {}
    _seen: set[str] = set()
    _assigned: dict[str, bytes] = {}
    _operations: dict[str, list[Operation]] = {}
    _defaults: frozenset[str] = _NO_KEYS  # most requests need no set of these of their own
    _deleted: frozenset[str] = _NO_KEYS
    former: FormerValues | None = None

    def get(self, key: str) -> Any:
        """Return the value, or ABSENT: a read, unless this request assigned or deleted the key."""
        if key not in self._assigned and key not in self._deleted:
            self._seen.add(key)
        return self.peek(key)

    def set(self, key: str, value: object) -> None:
        """Assign a value, even an equal one. Raises UnserializableValue, changing nothing.

        An object that was changed in place and is put back under its key stays a change in place:
        ``s["cart"] += ["tea"]`` does so.
        """
        data = self.encode(value, key)
        if self.former is not None and self.former.is_put_back(self, key, value):
            return
        if value is self._values.get(key, ABSENT) and self._is_mutated(key, value, data):
            return
        self._assigned[key] = data
        if self._operations:
            self._operations.pop(key, None)
        if self._defaults or self._deleted:
            self._defaults -= {key}
            self._deleted -= {key}
        self._values[key] = value

    def default(self, key: str, value: object) -> Any:
        """Return the value of a key; if it is absent, assign this one, unless another request did.

        Not a read. Raises UnserializableValue, changing nothing.
        """
        if not self.has(key):
            is_deleted = self._is_deleted(key)  # then it is a write already, whatever others did
            self.set(key, value)
            if not is_deleted:
                self._defaults |= {key}
        return self.peek(key)

    def delete(self, key: str) -> None:
        """Delete a key that is there."""
        if self.former is not None:
            self.former.let_go(key)
        self._operations.pop(key, None)
        self._assigned.pop(key, None)
        self._defaults -= {key}
        self._values.pop(key, None)
        self._deleted |= {key}

    def increment(self, key: str, by: int | float | Decimal) -> Any:
        """Add to a number and return the sum as this request sees it."""
        operation = Increment(by)
        value = operation.apply(self.peek(key))
        self._operate(key, operation, value)
        return value

    def append(self, key: str, item: object) -> None:
        """Append to a list. The item is encoded now: later changes of it are the list's."""
        operation = Append(self.encode(item, key))
        value = self.peek(key)
        if isinstance(value, list):
            value.append(item)  # in place: the application may hold this very list
        else:
            value = operation.apply(value)
        self._operate(key, operation, value)

    def __contains__(self, key: str) -> bool:
        if key not in self._assigned and key not in self._deleted:
            self._seen.add(key)
        return self.has(key)

    def __iter__(self) -> Iterator[str]:
        keys = self.keys()
        self._seen.update(key for key in keys if key not in self._assigned)
        return iter(keys)

    def keys(self) -> list[str]:
        """Return the keys, without reading them: the stored ones in their order, then new ones."""
        keys = [key for key in self._base if key not in self._deleted]
        keys += [key for key in self._values if key not in self._base]
        return keys

    def __len__(self) -> int:
        return len(self.keys())

    def delta(self) -> Delta:
        """Return the changes since the base. Raises UnserializableValue, with the value's path."""
        if self.former is not None:
            self.former.catch_up(self)
        delta: Delta = {}
        for key, value in self._values.items():
            if key in self._assigned or key in self._operations or type(value) not in IMMUTABLE:
                change = self._change(key, value)
                if change is not None:
                    delta[key] = change
        for key in self._deleted:
            if key in self._base:
                delta[key] = Assign(None, "read" if key in self._seen else "blind")
        return delta

    def is_set(self, key: str) -> bool:
        """Return whether this request assigned (even equally), changed or deleted the key."""
        return key in self._assigned or self._is_deleted(key) or self.is_changed(key)

    def is_assigned(self, key: str) -> bool:
        """Return whether this request assigned the key, and did not delete it since."""
        return key in self._assigned

    def is_another(self, key: str) -> bool:
        """Return whether the key appeared, went, or has another value than the base."""
        if self._is_deleted(key):
            return True
        if key not in self._values or (key in self._base and not self._may_differ(key)):
            return False
        return key not in self._base or not self._is_as(self._values[key], self._base[key])

    def was_stored(self, key: str) -> bool:
        """Return whether the key is in the base, or was in one that this request saw before."""
        return key in self._base or (self.former is not None and key in self.former.keys)

    def stored(self, key: str) -> Any:
        """Return the value in the base, or ABSENT."""
        return decode(self._base[key]) if key in self._base else ABSENT

    def may_differ(self, keys: frozenset[str]) -> bool:
        """Return whether a key was assigned, operated on, deleted, or read and mutable: cheap."""
        if self.former is not None:
            self.former.catch_up(self)
        given = keys & self._values.keys()
        return not keys.isdisjoint(self._deleted) or any(map(self._may_differ, given))

    def is_changed(self, key: str) -> bool:
        """Return whether this request gave the key another value; a deletion gives none."""
        if key not in self._values or self._change(key, self._values[key]) is None:
            return False
        return key not in self._base or not self._is_as(self._values[key], self._base[key])

    def rebase(
        self,
        base: Mapping[str, Raw],
        reassigned: Set[str] = _NO_KEYS,
        rules: MergeRules | None = None,
    ) -> None:
        """Put the changes made so far onto another base, merged; they stay pending."""
        delta = self.delta()
        self._replay(base, delta, merge(self._base, delta, base, reassigned, rules))

    def settle(self, base: Mapping[str, Raw]) -> None:
        """Like `rebase`, onto a `base` that has some of the changes: those are done."""
        delta = {k: c for k, c in self.delta().items() if not is_done(c, base.get(k))}
        self._replay(base, delta, merge(self._base, delta, base))

    def restore(self, base: Mapping[str, Raw], delta: Delta) -> None:
        """Go back to an earlier `delta()`: undo the changes since, even those of a `reset`."""
        for key in self._assigned.keys() - delta.keys():  # no longer the session's concern
            self._values.pop(key, None)
        if self.former is not None:
            self.former.views = ()
        self._replay(base, delta, apply(delta, base))

    def reset(self, base: Mapping[str, Raw]) -> None:
        """Forget all changes, and go on from `base`."""
        keeps_nothing = self.former is None and self._base.keys() <= base.keys()
        if keeps_nothing and IMMUTABLE.issuperset(map(type, self._values.values())):
            self._base, self._values, self._assigned, self._operations = base, {}, {}, {}
            self._defaults = self._deleted = _NO_KEYS
        else:
            self._keep_all(*self._reset_onto(base))

    def watch(self, take_over: Callable[[], None]) -> bool:
        """Call this before each look at the changes, to set some; return whether that is new."""
        return self._known().watch(take_over)

    def put(self, key: str, value: object) -> Any:
        """Set a value without changing the session. Return the one before, or None."""
        before, self._values[key] = self._values.get(key), value
        return before

    def resume(self, key: str, operations: Iterable[Operation]) -> None:
        """Make the value that was `put` the result of these operations on the base's."""
        self._operations[key] = list(operations)

    def _replay(self, base: Mapping[str, Raw], delta: Delta, merged: Merged) -> None:
        former = self._known()
        references, former.references = former.references, ()
        held, given = self._reset_onto(base)
        for key, change in delta.items():
            redo(self, key, change, merged, is_stored=key in base)
        former.references = references
        self._keep_all(held, given)

    def _reset_onto(self, base: Mapping[str, Raw]) -> tuple[dict[str, Any], Set[str]]:
        """Forget the values, not the reads. Returns them, and those the application has given."""
        if not self._base.keys() <= base.keys():
            self._known().keys |= self._base.keys()
        held, given = self._values, _NO_KEYS
        if self.former is not None:
            given, self.former.given = self.former.given, _NO_KEYS
        if self._assigned:
            given, self._assigned = given.union(self._assigned), {}
        if self._operations:
            self._operations = {}
        self._base, self._values = base, {}
        self._defaults = self._deleted = _NO_KEYS
        return held, given

    def _keep_all(self, held: Mapping[str, Any], given: Set[str]) -> None:
        for key, value in held.items():
            if type(value) not in IMMUTABLE:
                self._known().keep(self, key, value, is_given=key in given)

    def _known(self) -> FormerValues:
        """Return the former values that the application knows; most requests never need them."""
        if self.former is None:
            self.former = FormerValues()
        return self.former

    def encoded(self, key: str) -> bytes | None:
        """Return the value as it is encoded now, or None."""
        if key in self._values:
            return self.encode(self._values[key], key)
        if key in self._base and key not in self._deleted:
            return bytes(self._base[key])
        return None

    def has(self, key: str) -> bool:
        """Return whether the key is there. It does not count as read."""
        return key in self._values or (key in self._base and key not in self._deleted)

    def peek(self, key: str) -> Any:
        """Return the value, or ABSENT. It does not count as read."""
        if self.former is not None:
            # The present value is shown; `delta` raises.
            with suppress(StaleValue, UnserializableValue):
                self.former.catch_up(self, key)
        if key in self._values:
            return self._values[key]
        if key in self._deleted or key not in self._base:
            return ABSENT
        value = self._values[key] = decode(self._base[key])
        return value

    def _is_deleted(self, key: str) -> bool:
        """Return whether this request deleted the stored key; it may have set it again since."""
        return key in self._deleted and key in self._base

    def _may_differ(self, key: str) -> bool:
        is_written = key in self._assigned or key in self._operations
        return is_written or type(self._values[key]) not in IMMUTABLE

    def _operate(self, key: str, operation: Operation, value: object) -> None:
        self._values[key] = value
        if self._is_deleted(key):  # begun again since: no longer about the stored value
            self.set(key, value)
        elif key in self._assigned:
            if key not in self._defaults or type(value) in IMMUTABLE:
                self._assigned[key] = self.encode(value, key)
                self._defaults -= {key}  # an operation on a default makes it a write
        else:
            self._operations.setdefault(key, []).append(operation)

    def _change(self, key: str, value: object) -> Change | None:
        operations, mutable = self._operations.get(key), type(value) not in IMMUTABLE
        data = None if mutable else self._assigned.get(key)
        if data is None:
            if operations is None and not mutable:
                return None
            data = self.encode(value, key)
        if operations is not None and data == encode(operated(operations, self.stored(key)), key):
            return Operate(tuple(operations), data)
        if key in self._assigned:
            return self._assignment(key, data)
        if key not in self._base:
            return Mutate(data, _EMPTY_LIST)  # only a list can be operated on and changed in place
        return None if data == bytes(self._base[key]) else Mutate(data)

    def _assignment(self, key: str, data: bytes) -> Change:
        if key not in self._defaults:
            return Assign(data, "read" if key in self._seen else "blind")
        default = self._assigned[key]
        return Assign(data, "default") if data == default else Mutate(data, default)

    def _is_mutated(self, key: str, value: object, data: bytes) -> bool:
        """Return whether the key's present value was changed in place since it was decoded."""
        if type(value) in IMMUTABLE or key in self._deleted:
            return False
        if key in self._assigned:
            return key in self._defaults and data != self._assigned[key]
        return key not in self._base or data != bytes(self._base[key])

    def _is_as(self, value: object, stored: Raw) -> bool:
        return self.encode(value, "value") == bytes(stored)
