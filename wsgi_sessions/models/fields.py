"""The fields of a model: their types, defaults and keys, and the check of a value."""

from __future__ import annotations

import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from inspect import get_annotations
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

import msgspec

from wsgi_sessions.core.merge.delta import ABSENT
from wsgi_sessions.errors import InvalidValue
from wsgi_sessions.models.views import ModelDict, ModelList, ModelView, plain

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

# Otherwise a text would fit: msgspec would make one of these of it.
_KEPT = (bytes, datetime, date, time, timedelta, Decimal, UUID)


class ModelField:
    """One field: a descriptor that reads and writes the mapping of its model."""

    __slots__ = ("_default", "_factory", "_hint", "_wrap", "key", "name")

    def __init__(self, model: str, name: str, hint: Any, default: Any) -> None:
        given: Any = default if isinstance(default, _GIVEN) else msgspec.field(default=default)
        self.name = f"{model}.{name}"
        self.key = given.name or name
        self._hint = hint
        self._default, self._factory = given.default, given.default_factory
        self._wrap = _wrapping(self.name, hint)
        self._check_declaration()

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self._default is msgspec.NODEFAULT and self._factory is msgspec.NODEFAULT

    def __get__(self, model: ModelView | None, owner: type | None = None) -> Any:
        if model is None:
            return self
        value = model.__mapping__.get(self.key, ABSENT)
        if value is ABSENT:
            value = self._absent(model.__mapping__)
        return value if self._wrap is None or value is None else self._wrap(value)

    def __set__(self, model: ModelView, value: Any) -> None:
        model.__mapping__[self.key] = self._checked(value)

    def __delete__(self, model: ModelView) -> None:
        model.__mapping__.pop(self.key, None)

    def begin(self, mapping: MutableMapping[str, Any]) -> None:
        """Put what a factory makes into a new model's mapping."""
        if self._factory is not msgspec.NODEFAULT:
            mapping[self.key] = self._checked(self._factory())

    def _absent(self, mapping: MutableMapping[str, Any]) -> Any:
        if self.is_required:
            raise AttributeError(f"{self.name} is not set, and has no default")
        if self._factory is msgspec.NODEFAULT:
            return self._default
        value = self._checked(self._factory())
        if isinstance(value, (list, dict, set)):
            return getattr(mapping, "offer", mapping.setdefault)(self.key, value)
        return mapping.setdefault(self.key, value)

    def _checked(self, value: Any) -> Any:
        """Return what is kept of a value. Raises InvalidValue."""
        if isinstance(value, (ModelList, ModelDict)):
            value = value[:] if isinstance(value, ModelList) else dict(value)
        try:
            fits = msgspec.convert(value, self._hint, builtin_types=_KEPT) == value
        except msgspec.ValidationError as error:
            why = str(error)  # names types; only that of an enumeration has the value
            fits, expected = False, why if why.startswith("Expected") else None
        else:
            expected = None
        if not fits:
            raise InvalidValue(self.name, expected or self._mismatch(value))
        return value if self._wrap is None else plain(value)

    def _mismatch(self, value: object) -> str:
        wanted = self._hint.__name__ if isinstance(self._hint, type) else str(self._hint)
        return f"Expected `{wanted}`, got another `{type(value).__qualname__}`"

    def _check_declaration(self) -> None:
        """Raise TypeError for what no value could be checked against, and for a shared default."""
        try:
            msgspec.convert(None, self._hint, builtin_types=_KEPT)
        except msgspec.ValidationError:
            pass
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        if type(self._default).__hash__ is None:
            if self._default or isinstance(self._default, ModelView):
                raise TypeError(f"{self.name}: a mutable default needs field(default_factory=…)")
            self._factory, self._default = type(self._default), msgspec.NODEFAULT


def fields_of(model: type[ModelView]) -> dict[str, ModelField]:
    """Make the fields that a class declares itself, by their names."""
    own = SimpleNamespace(__annotations__=get_annotations(model))
    names = vars(sys.modules[model.__module__])
    hints = get_type_hints(own, names, {model.__name__: model}, include_extras=True)
    return {
        name: ModelField(model.__name__, name, hint, vars(model).get(name, msgspec.NODEFAULT))
        for name, hint in hints.items()
        if get_origin(hint) is not ClassVar
    }


def _wrapping(name: str, hint: Any) -> Callable[[Any], Any] | None:
    """Return what makes views of stored values, if the type has a model in it."""
    hint = _without_none(hint)
    if _is_model(hint):
        over: Callable[[Any], Any] = hint.__over__
        return over
    arguments = get_args(hint)
    if get_origin(hint) is list and _is_model(arguments[0]):
        return partial(ModelList, arguments[0])
    if get_origin(hint) is dict and arguments[0] is str and _is_model(arguments[1]):
        return partial(ModelDict, arguments[1])
    if _has_model(hint):
        raise TypeError(f"{name}: of models, it can be one, a list of them or a dict[str, …]")
    return None


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return _without_none(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        others = [each for each in get_args(hint) if each is not NoneType]
        return _without_none(others[0]) if len(others) == 1 else hint
    return hint


def _has_model(hint: Any) -> bool:
    return _is_model(hint) or any(map(_has_model, get_args(hint)))


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, ModelView)


_GIVEN: type = type(msgspec.field())
