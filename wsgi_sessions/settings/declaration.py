"""Declarations of settings: reading, errors, help and documentation are made from them.

A feature's settings are the fields of a dataclass in its `settings` module; `Config` in
`wsgi_sessions.stack.config` puts all of them together.
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
"""The source of a value that came from no variable."""
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
        """Return the parsed value. Raises `ConfigurationError`, with the source and what is
        allowed."""
        text = self.text.strip()
        if not text:
            raise ConfigurationError(
                f"{self.source} is empty: unset it, or set it to {self.kind.allowed}"
            )
        try:
            return self.kind.parse(text)
        except ValueError as error:
            # Not chained: a traceback of the cause could show what this message hides.
            raise ConfigurationError(self._refusal(text, str(error))) from None

    def _refusal(self, text: str, reason: str) -> str:
        shown = self.kind.conceal(text)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
        because = f"{reason}; it " if reason else ""
        return f"{self.source}={shown}: {because}must be {self.kind.allowed}"


@texts.shows("env", "when", "unless")
@dataclass(frozen=True)
class Fallback:
    """A familiar variable, read if this project's own is not set.

    With `when`, it is read only if that variable is on; `otherwise` is then its text if it is not
    set. With `unless`, it is ignored if that variable is off.
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
    """A variable that names a file, the way container platforms pass secrets."""

    env: str
    kind: Kind[Any]

    def find(self, environ: Mapping[str, str]) -> Given | None:
        if self.env not in environ:
            return None
        return Given(self.env, _read(self.env, environ[self.env].strip()), self.kind)


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One setting: its variable, the kind of its value, and the other places it may come from.

    If no variable is set, the value is `default`, or what `computed` returns for the environment;
    the documentation then shows `default_text`. The first familiar variable that is set is used;
    with a `join`, the result of joining all of them and the default, in this order.
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
        """Return the value and its source: the variable it came from, or `DEFAULT`.

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
        """Return this project's own variables for the setting."""
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
        # There may be no default; the named values are enough then.
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
    """The source of one configuration field: one setting, or a factory of several.

    Settings are keyed by the factory's argument; a single one without a factory is keyed by "".
    """

    settings: Mapping[str, Setting[Any]]
    factory: Callable[..., Any] | None = None

    def paths(self, name: str) -> dict[str, Setting[Any]]:
        """Return the settings by dotted attribute, for the field of this name."""
        return {f"{name}.{member}".rstrip("."): s for member, s in self.settings.items()}


def setting(env: str, kind: Kind[T], about: str, default: T, **more: Any) -> T:
    """Return a dataclass field with its `Setting`; to type checkers, its default."""
    part = Part({"": Setting(env, kind, about, default, **more)})
    return field(default=default, metadata={PART: part})


def filled_by(setting: Setting[T]) -> T:
    """Return a dataclass field for a `Setting` that is declared elsewhere."""
    return field(default=setting.default, metadata={PART: Part({"": setting})})


def group(factory: Callable[..., T], **members: Setting[Any]) -> T:
    """Return a dataclass field that `factory` builds from several settings, as keyword arguments.

    The settings are those declared by the fields of the dataclass `factory`, plus `members`.
    """
    own = {f.name: f.metadata[PART].settings[""] for f in _fields_of(factory) if PART in f.metadata}
    return field(default=factory(), metadata={PART: Part({**own, **members}, factory)})


def _fields_of(factory: object) -> tuple[Field[Any], ...]:
    return fields(factory) if isinstance(factory, type) and is_dataclass(factory) else ()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to an unknown one, if any is close."""
    # The common prefix would make all names look alike.
    tails = {_tail(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_tail(name), tails, n=1, cutoff=0.6)
    return tails[close[0]] if close else None


def _tail(name: str) -> str:
    return _BEGINNING.sub("", name.upper())


def _is_on(name: str, environ: Mapping[str, str]) -> bool:
    return name in environ and bool(Given(name, environ[name], SWITCH).value())


def _read(env: str, path: str) -> str:
    # Only absolute paths are shown: anything else may be the secret itself, set by mistake.
    if not os.path.isabs(path):
        raise ConfigurationError(f"{env}: must be the absolute path of a file")
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "invalid path"
        raise ConfigurationError(f"{env}={path!a}: cannot be read: {why}") from None
    if len(content) > _FILE_LIMIT:
        raise ConfigurationError(
            f"{env}={path!a}: larger than {_FILE_LIMIT} bytes: this is not a secret file"
        )
    # Invalid UTF-8 becomes a lone surrogate, which the parser refuses.
    return content.decode("utf-8", "surrogateescape")
