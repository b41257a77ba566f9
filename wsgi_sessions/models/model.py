"""A session with a schema: a class whose fields are keys of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from wsgi_sessions.core.session import Session
from wsgi_sessions.http.environ import get_session
from wsgi_sessions.models.fields import fields_of
from wsgi_sessions.models.migrations import Schema
from wsgi_sessions.models.versioned import VersionedSession
from wsgi_sessions.models.views import ModelView

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from typing_extensions import dataclass_transform

    from wsgi_sessions.models.fields import ModelField
else:

    def dataclass_transform(**_: object) -> Any:
        """Return a decorator that does nothing: what it says is for type checkers."""
        return lambda cls: cls


Model = TypeVar("Model", bound="SessionModel")


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class ModelType(type):
    """The type of models: only fields can be set."""

    def __new__(
        cls, model: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **options: Any
    ) -> Any:
        return super().__new__(cls, model, bases, {"__slots__": (), **namespace}, **options)


class SessionModel(ModelView, metaclass=ModelType):
    """The declaration of what a session holds, with types and defaults, and a view on it.

    ::

        class Shop(SessionModel):
            visits: int = 0
            cart: list[str] = []


        def app(environ, start_response):
            shop = typed(environ, Shop)
            shop.visits += 1
            shop.cart.append("tea")

    A field is a key of the session, under its own name or that of ``msgspec.field(name=…)``. The
    view holds no value: what is set is set in the session, what is changed in place is found and
    merged there, and other keys stay untouched. A model made by hand,
    ``Item(name="tea")``, is a view on a dictionary of its own, to be put into the session.

    Types are those of `Session` values, their unions and Literals, ``Annotated`` with
    ``msgspec.Meta``; another model, ``list`` and ``dict[str, …]`` of one, or None in their place.
    A value is checked as a whole when a field is set, or an item is put among models. A default is
    not stored; one that may change in place (``[]``, or a ``default_factory``) is, once it has.
    Another value of a ``default_factory``, such as a token, is stored at its first read.

    `version` counts the changes of the schema that `migration` functions are for; the session has
    it under `name`, by default that of the class, from the first change that no step leads back.

    Raises:
        InvalidValue: a value does not fit its field; the session is unchanged.
        AttributeError: there is no such field, or it is not set and has no default.
        UnsupportedFormat: at an access; the session was migrated by a release that is too new.

    Not promised: that values which were not set by this class fit, nor items that were put into a
    plain list or dictionary. No two models should declare one key with two types.
    """

    __fields__: ClassVar[dict[str, ModelField]] = {}
    __schema__: ClassVar[Schema]

    def __init_subclass__(cls, *, version: int = 1, name: str | None = None) -> None:
        super().__init_subclass__()
        own = fields_of(cls)
        for each, field in own.items():
            setattr(cls, each, field)
        cls.__fields__ = {**cls.__fields__, **own}
        cls.__schema__ = Schema.declared(cls, version, name)

    def __init__(self, **values: Any) -> None:
        fields = self.__fields__
        missing = [n for n, field in fields.items() if field.is_required and n not in values]
        unknown = [name for name in values if name not in fields]
        if missing or unknown:
            wrong = f"lacks {missing}" if missing else f"has no field {unknown}"
            raise TypeError(f"{type(self).__name__} {wrong}")
        self.__mapping__ = {}
        for name, field in fields.items():
            if name in values:
                setattr(self, name, values[name])
            else:
                field.begin(self.__mapping__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, n, None) == getattr(other, n, None) for n in self.__fields__)

    __hash__ = None  # type: ignore[assignment]  # a mutable object

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {', '.join(self.__fields__)}>"  # no values: it may be logged
        )


def typed(source: WSGIEnvironment | Session, model: type[Model]) -> Model:
    """Return the view of a model on the session of a request's environ, or on a session.

    Nothing is read before a field is. Raises LookupError outside of a SessionMiddleware.
    """
    session = source if isinstance(source, Session) else get_session(source)
    return model.__over__(VersionedSession(session, model.__schema__))
