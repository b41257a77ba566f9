"""A fingerprint of an application object, to tell apart two that share their code. Pure.

Two applications count as one only if all visible parts are equal: code, closures, attributes. The
contents of C objects, such as a lock, are not visible; nor are the deepest parts of a very large
application.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import PurePath
from types import CellType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from wsgi_sessions import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST = 5000  # values, the nearest ones first
_DEPTH = 8
_PLAIN: tuple[Any, ...] = (type(None), bool, int, float, complex, str, bytes, PurePath)
_EMPTY = "an empty cell"


def traits_of(app: object) -> str:
    """Return a digest of all visible parts; it is meaningful only within this process."""
    return texts.hashed("\0".join(_described(app)))


def _described(app: object) -> Iterator[str]:
    waiting: deque[tuple[Any, int]] = deque([(app, _DEPTH)])
    for _ in range(_MOST):
        if not waiting:
            return
        value, depth = waiting.popleft()
        parts = [*islice(_parts(value), _MOST)] if depth else []
        yield f"{_named(value)} {len(parts)}"
        waiting.extend((part, depth - 1) for part in parts)


def _named(value: Any) -> str:
    """Return what distinguishes a value from others of its type, apart from its parts.

    By its type only: a proxy answers for another object, or raises.
    """
    kind = type(value)
    for plain in _PLAIN:
        if issubclass(kind, plain):
            return str(plain.__repr__(value))
    if kind in (set, frozenset):
        return " ".join(sorted(map(_named, value)))
    if kind is FunctionType:
        return f"{value.__qualname__} {hash(value.__code__)}"
    if issubclass(kind, type):
        return f"{value.__module__}.{value.__qualname__}"
    if kind is ModuleType:
        return str(value.__name__)
    return f"a {kind.__module__}.{kind.__qualname__}"


def _parts(value: Any) -> Iterable[Any]:
    kind = type(value)
    if issubclass(kind, (*_PLAIN, ModuleType)) or kind in (set, frozenset):
        return ()
    for container in (list, tuple):
        if issubclass(kind, container):
            return iter(container.__iter__(value))
    if issubclass(kind, dict):
        return chain.from_iterable([*dict.items(value)])
    if kind is FunctionType:
        made = (value.__closure__, value.__defaults__, value.__kwdefaults__, value.__dict__)
        return (part for part in made if part)
    if kind is CellType:
        return (_content(value),)
    if kind is MethodType:
        return (value.__func__, value.__self__)
    if issubclass(kind, partial):
        return (value.func, value.args, value.keywords)
    if issubclass(kind, type):
        return () if _is_of_python(value) else _written(value)
    return (kind, *_attributes(value))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return _EMPTY


def _is_of_python(cls: type) -> bool:
    return str(cls.__module__).partition(".")[0] in sys.stdlib_module_names


def _written(cls: type) -> Iterator[Any]:
    """Yield the methods and values of a class: several may share a name."""
    for name, value in [*vars(cls).items()]:
        if not name.startswith("__") or isinstance(value, FunctionType):
            yield from (name, value)


def _attributes(value: Any) -> list[Any]:
    slots = (vars(cls).get("__slots__", ()) for cls in type(value).__mro__)
    names = chain.from_iterable((s,) if isinstance(s, str) else s for s in slots)
    found: list[Any] = []
    for name in ("__dict__", *names):
        with suppress(Exception):  # a descriptor in place of a slot may raise anything
            found += (name, object.__getattribute__(value, name))
    return found
