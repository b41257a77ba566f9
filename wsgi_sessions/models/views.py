"""Views on the dictionaries and lists of a session: they hold no value of their own."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self


class ModelView:
    """A view on one mapping, whose keys are the fields."""

    __slots__ = ("__mapping__",)
    __mapping__: MutableMapping[str, Any]

    @classmethod
    def __over__(cls, mapping: object) -> Self:
        """Return the view on a dictionary of the session."""
        if not isinstance(mapping, MutableMapping):
            raise InvalidValue(cls.__name__, f"the session has a {_kind(mapping)} in its place")
        view = cls.__new__(cls)
        view.__mapping__ = mapping
        return view


class ModelList(MutableSequence[Any]):
    """A view on a list of dictionaries, as a list of models."""

    __slots__ = ("_items", "_model")

    def __init__(self, model: type[ModelView], items: object) -> None:
        if not isinstance(items, list):
            raise InvalidValue(
                f"list[{model.__name__}]", f"the session has a {_kind(items)} in its place"
            )
        self._model = model
        self._items = items

    def __getitem__(self, index: Any) -> Any:
        found = self._items[index]
        if isinstance(index, slice):
            return [self._model.__over__(item) for item in found]
        return self._model.__over__(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._items[index] = [_unviewed(self._model, each) for each in value]
        else:
            self._items[index] = _unviewed(self._model, value)

    def __delitem__(self, index: Any) -> None:
        del self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def insert(self, index: int, value: Any) -> None:
        self._items.insert(index, _unviewed(self._model, value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, ModelList)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a mutable sequence

    def __repr__(self) -> str:
        return f"<list of {len(self)} {self._model.__name__}>"


class ModelDict(MutableMapping[str, Any]):
    """A view on a dictionary of dictionaries, as one of models."""

    __slots__ = ("_items", "_model")

    def __init__(self, model: type[ModelView], items: object) -> None:
        if not isinstance(items, dict):
            raise InvalidValue(
                f"dict[str, {model.__name__}]", f"the session has a {_kind(items)} in its place"
            )
        self._model = model
        self._items = items

    def __getitem__(self, key: str) -> Any:
        return self._model.__over__(self._items[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[key] = _unviewed(self._model, value)

    def __delitem__(self, key: str) -> None:
        del self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<dict of {len(self)} {self._model.__name__}>"


def plain(value: Any) -> Any:
    """Return what the session keeps of a value: a dictionary in place of each model."""
    if isinstance(value, ModelView):
        if not isinstance(value.__mapping__, dict):
            raise InvalidValue(type(value).__name__, "the session itself cannot be a value in it")
        return value.__mapping__
    if isinstance(value, (list, ModelList)):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return value


def _unviewed(model: type[ModelView], value: object) -> Any:
    if not isinstance(value, model):
        raise InvalidValue(model.__name__, f"Expected `{model.__name__}`, got `{_kind(value)}`")
    return plain(value)


def _kind(value: object) -> str:
    return type(value).__qualname__
