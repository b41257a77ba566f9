"""A tap on a store: a test sees, delays or replaces every call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend

OPERATIONS = {
    "sessions": ("create", "load", "save", "touch", "delete", "ping"),
    "leased_loading": ("load_and_acquire",),
    "index": ("add", "remove", "keys_of"),
    "locks": ("hold",),
}
NAMES = tuple(name for names in OPERATIONS.values() for name in names)


class Around(Protocol):
    """A function called in place of an operation; it may call the operation."""

    def __call__(self, name: str, operation: Any, /, *args: Any, **more: Any) -> Any: ...


class StoreTap:
    """A context in which `around` replaces the operations of a backend's objects.

    Everything in this process that uses these objects is affected. Contexts may be nested.
    """

    def __init__(self, backend: Backend, around: Around) -> None:
        self._backend = backend
        self._around = around
        self._replaced: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        for ability, names in OPERATIONS.items():
            of = getattr(self._backend, ability)
            for name in names:
                if of is not None:
                    self._replaced.append((of, name, vars(of).get(name)))
                    setattr(of, name, partial(self._around, name, getattr(of, name)))

    def __exit__(self, *exc_info: object) -> None:
        while self._replaced:
            of, name, before = self._replaced.pop()
            if before is None:
                delattr(of, name)
            else:
                setattr(of, name, before)
