"""The versions of a schema: functions from one to the next, and back by one."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.merge.delta import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    Migrate = Callable[[MutableMapping[str, Any]], None]


@texts.shows()
class Migration(NamedTuple):
    """A function that changes the keys of a session from one version to the next."""

    from_: int
    function: Migrate


def migration(*, from_: int) -> Callable[[Migrate], Any]:
    """Declare a static method of a model as the step from a version of its schema.

    ::

        class Shop(SessionModel, version=2):
            customer: str = ""

            @migration(from_=1)
            @staticmethod
            def customer_for_name(data):
                if "name" in data:
                    data["customer"] = data.pop("name")

            @migration(from_=2)
            @staticmethod
            def name_for_customer(data):
                if "customer" in data:
                    data["name"] = data.pop("customer")

    It gets a mapping, and changes keys of it; values in it are copies. It may run often, also where
    some keys are absent or there already, and must have no other effect.

    The step from the model's own `version` leads back by one. As long as there is one, sessions
    stay stored as the former version, so that workers of the former release read and change them
    too. Without one, a session is stored as this version at its first change.
    """
    return lambda function: Migration(from_, function)


@texts.shows()
class Schema(NamedTuple):
    """The version of a model, where a session has its own, and the steps between versions."""

    key: str
    version: int
    forward: dict[int, Migrate]
    back: Migrate | None

    @classmethod
    def declared(cls, model: type, version: int, name: str | None) -> Self:
        """Read the steps in the body of a class. Raises TypeError if one is missing."""
        name = name or model.__name__
        found = [getattr(each, "__func__", each) for each in vars(model).values()]
        steps = {each.from_: each.function for each in found if isinstance(each, Migration)}
        back = steps.pop(version, None)
        if sorted(steps) != list(range(1, version)):
            raise TypeError(f"{name}: version {version} needs a migration from each one before it")
        return cls(f"{name}.version", version, steps, back)


class Overlay(MutableMapping[str, Any]):
    """Changes of keys on top of a mapping, which stays as it is.

    `changes`: the new values, ABSENT for a deleted key. `read`: copies of the values beneath.
    """

    __slots__ = ("_base", "changes", "read")

    def __init__(self, base: MutableMapping[str, Any]) -> None:
        self._base = base
        self.changes: dict[str, Any] = {}
        self.read: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self.changes:
            value = self.changes[key]
        else:
            value = self._base.get(key, ABSENT)
            self.read[key] = copied(value)
            value = copied(value)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes[key] = value

    def __delitem__(self, key: str) -> None:
        self[key]
        self.changes[key] = ABSENT

    def __iter__(self) -> Iterator[str]:
        keys = dict.fromkeys([*self._base, *self.changes])
        return iter([key for key in keys if self.changes.get(key) is not ABSENT])

    def __len__(self) -> int:
        return len([*self])


def copied(value: Any) -> Any:
    """Return a value that shares no container with another."""
    return value if value is ABSENT else deepcopy(value)


def all_copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of these values."""
    return {key: copied(value) for key, value in values.items()}
