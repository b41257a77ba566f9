"""What a setting is: a declaration from which reading, errors, help and documentation are made.

The declarations themselves stand beside the fields that they fill (`wsgi_sessions.stack.config`).
"""

from __future__ import annotations

import difflib
import os
import re
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from wsgi_sessions import texts
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.settings.kinds import SWITCH, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")

DEFAULT = "default"
"""The source of a value that no variable gave."""
PART = "part"
"""The key of a field's `Part` in its metadata."""
_FILE_LIMIT = 65536
_BEGINNING = re.compile("WSGI_?SESSIONS?_*")


@texts.shows("source")
class Given(NamedTuple):
    """Text that the environment gave, the variable that named it, and how to read it."""

    source: str
    text: str
    kind: Kind[Any]

    def value(self) -> Any:
        """Raises `ConfigurationError`, with the source and what is allowed."""
        text = self.text.strip()
        if not text:
            raise ConfigurationError(
                f"{self.source} is empty: unset it, or set it to {self.kind.allowed}"
            )
        try:
            return self.kind.parse(text)
        except ValueError as error:
            # Not chained: a cause could show in a traceback what this message hides.
            raise ConfigurationError(self._refusal(text, str(error))) from None

    def _refusal(self, text: str, reason: str) -> str:
        shown = self.kind.conceal(text)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
        because = f"{reason}; it " if reason else ""
        return f"{self.source}={shown}: {because}must be {self.kind.allowed}"


@texts.shows("env", "when", "unless")
@dataclass(frozen=True)
class Fallback:
    """A familiar variable, read where this project's own is absent.

    With `when`, only if that variable is on; `otherwise` is then the text if this one is absent.
    With `unless`, not if that variable is off.
    """

    env: str
    kind: Kind[Any]
    when: str = ""
    otherwise: str = ""
    unless: str = ""

    def find(self, environ: Mapping[str, str]) -> Given | None:
        if self.when and not _is_on(self.when, environ):
            return None
        if self.unless and self.unless in environ and not _is_on(self.unless, environ):
            return None
        if self.env in environ:
            return Given(self.env, environ[self.env], self.kind)
        return Given(self.when, self.otherwise, self.kind) if self.otherwise else None


@dataclass(frozen=True)
class SecretFile:
    """A variable that names a file, as container platforms hand out secrets."""

    env: str
    kind: Kind[Any]

    def find(self, environ: Mapping[str, str]) -> Given | None:
        if self.env not in environ:
            return None
        return Given(self.env, _read(self.env, environ[self.env].strip()), self.kind)


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One setting: its variable, the kind of its value, and where else the value may come from.

    Without any variable it is `default`, or what `computed` makes of the environment; then
    `default_text` tells the reader of the documentation. Of familiar variables the first that is
    there is used; or where there is a `join`, what that makes of all of them and of the default,
    in this order.
    """

    env: str
    kind: Kind[T]
    about: str
    default: T
    fallbacks: tuple[Fallback, ...] = ()
    file: SecretFile | None = None
    computed: Callable[[Mapping[str, str]], T] | None = None
    default_text: str = ""
    join: Callable[[Sequence[T]], T] | None = None

    def read(self, environ: Mapping[str, str]) -> tuple[T, str]:
        """The value and its source: the variable it came from, or `DEFAULT`.

        Raises `ConfigurationError`.
        """
        own = self._own(environ)
        if own:
            return own.value(), own.source
        familiar = [given for f in self.fallbacks if (given := f.find(environ))]
        if not familiar:
            return self._default(environ), DEFAULT
        if self.join is None:
            return familiar[0].value(), familiar[0].source
        return self._joined(self.join, familiar, environ)

    def variables(self) -> tuple[str, ...]:
        """The names of this project's own that it is read from."""
        return (self.env, self.file.env) if self.file else (self.env,)

    def _default(self, environ: Mapping[str, str]) -> T:
        return self.computed(environ) if self.computed else self.default

    def _joined(
        self,
        join: Callable[[Sequence[T]], T],
        familiar: Sequence[Given],
        environ: Mapping[str, str],
    ) -> tuple[T, str]:
        values: list[T] = [given.value() for given in familiar]
        sources = [given.source for given in familiar]
        # Without a default, what is named is enough.
        with suppress(ConfigurationError):
            values.append(self._default(environ))
            sources.append(DEFAULT)
        return join(values), ", ".join(sources)

    def _own(self, environ: Mapping[str, str]) -> Given | None:
        own = self.file.find(environ) if self.file else None
        if self.env in environ:
            if own:
                raise ConfigurationError(f"{self.env} and {own.source} are both set: keep one")
            own = Given(self.env, environ[self.env], self.kind)
        return own


class Part(NamedTuple):
    """How one field of the configuration is made: by one setting, or by a factory of several.

    The settings are by the factory's argument; a single one that needs no factory is under "".
    """

    settings: Mapping[str, Setting[Any]]
    factory: Callable[..., Any] | None = None

    def paths(self, name: str) -> dict[str, Setting[Any]]:
        """The settings by dotted attribute, for the field of this name."""
        return {f"{name}.{member}".rstrip("."): s for member, s in self.settings.items()}


def setting(env: str, kind: Kind[T], about: str, default: T, **more: Any) -> T:
    """A dataclass field with its `Setting`: to the type checkers, its default."""
    part = Part({"": Setting(env, kind, about, default, **more)})
    return field(default=default, metadata={PART: part})


def filled_by(setting: Setting[T]) -> T:
    """A dataclass field with a `Setting` that is declared elsewhere."""
    return field(default=setting.default, metadata={PART: Part({"": setting})})


def group(factory: Callable[..., T], **members: Setting[Any]) -> T:
    """A dataclass field that `factory` makes of several settings, given as keyword arguments.

    The settings are those that a dataclass declares for its own fields, and `members`.
    """
    own = {f.name: f.metadata[PART].settings[""] for f in _fields_of(factory) if PART in f.metadata}
    return field(default=factory(), metadata={PART: Part({**own, **members}, factory)})


def _fields_of(factory: object) -> tuple[Field[Any], ...]:
    return fields(factory) if isinstance(factory, type) and is_dataclass(factory) else ()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown one may be meant for."""
    # The common beginning would make every name resemble every other.
    tails = {_tail(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_tail(name), tails, n=1, cutoff=0.6)
    return tails[close[0]] if close else None


def _tail(name: str) -> str:
    return _BEGINNING.sub("", name.upper())


def _is_on(name: str, environ: Mapping[str, str]) -> bool:
    return name in environ and bool(Given(name, environ[name], SWITCH).value())


def _read(env: str, path: str) -> str:
    # Only an absolute path is shown: anything else may be the secret itself, set by mistake.
    if not os.path.isabs(path):
        raise ConfigurationError(f"{env}: must be the absolute path of a file")
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no valid path"
        raise ConfigurationError(f"{env}={path!a}: cannot be read: {why}") from None
    if len(content) > _FILE_LIMIT:
        raise ConfigurationError(f"{env}={path!a}: larger than {_FILE_LIMIT} bytes, no secret file")
    # What is no UTF-8 stays a lone surrogate, and its reader refuses it.
    return content.decode("utf-8", "surrogateescape")
