"""The configuration explained: as it stands (`describe`), and for the documentation."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions.config import SETTINGS, shown_value
from wsgi_sessions.settings.declaration import DEFAULT
from wsgi_sessions.settings.kinds import UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.config import Config
    from wsgi_sessions.settings.declaration import Setting


class Row(NamedTuple):
    """One setting as it stands: its variable, its value without secrets, where that came from."""

    env: str
    value: str
    source: str


def describe(config: Config) -> list[Row]:
    """A row for each setting. A value that was passed in Python has the source ``argument``."""
    return [
        Row(declared.env, shown_value(config, path), _source(config, path))
        for path, declared in SETTINGS.items()
    ]


def markdown_table() -> str:
    """The table of settings for the documentation."""
    lines = ["| variable | falls back to | default | meaning | allowed |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_cells(declared))} |" for declared in SETTINGS.values()]
    return "\n".join(lines) + "\n"


def _source(config: Config, path: str) -> str:
    declared = SETTINGS[path]
    unchanged = attrgetter(path)(config) == declared.default
    return config.sources.get(declared.env, DEFAULT if unchanged else "argument")


def _cells(declared: Setting[Any]) -> list[str]:
    familiar = [name for f in declared.fallbacks for name in (f.when, f.env) if name]
    return [
        _code(declared.variables()),
        _code(familiar),
        _default(declared),
        _plain(declared.about),
        _plain(declared.kind.allowed),
    ]


def _default(declared: Setting[Any]) -> str:
    shown = declared.kind.show(declared.default)
    return declared.default_text or (UNSET if shown == UNSET else _code([shown]))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _plain(text: str) -> str:
    return text.replace("*", r"\*")
