"""The configuration explained: as it stands (`describe`), and for the documentation."""

from __future__ import annotations

from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions.settings.declaration import DEFAULT
from wsgi_sessions.settings.kinds import UNSET
from wsgi_sessions.stack.config import SETTINGS, shown_value, variable
from wsgi_sessions.stack.declared import identity, limits, requests, store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.settings.declaration import Setting
    from wsgi_sessions.stack.config import Config


_MODULES = (store, identity, limits, requests)
_TITLES = MappingProxyType(
    {
        "store": "Store and application",
        "cookie": "Cookie",
        "identity": "Log-in and identity",
        "limits": "Lifetimes and limits",
        "requests": "Requests",
        "refresh": "Background refresh",
        "version": "Version stamps",
        "context": "Contexts",
        "health": "Health",
        "metrics": "Metrics",
        "imports": "Import from another library",
    }
)


class Row(NamedTuple):
    """One setting: its variable, its value without secrets, and the source of that value."""

    env: str
    value: str
    source: str


def describe(config: Config) -> list[Row]:
    """Return a row for each setting. A value passed in Python has the source ``argument``."""
    return [
        Row(declared.env, shown_value(config, path), _source(config, path))
        for path, declared in SETTINGS.items()
    ]


def advice(config: Config) -> list[str]:
    """Return changes that would make the set-up safer, with the reason they are not the default."""
    policy = config.cookie
    if policy.is_host_only or policy.secure == "never":
        return []
    more = [
        f"unset {variable('domain')}" if policy.domain is not None else "",
        f"set {variable('path')} to /" if policy.path != "/" else "",
    ]
    and_more = "".join(f" and {each}" for each in more if each)
    text = (
        f"set {variable('name')}=__Host-session{and_more}, if all pages are https: browsers "
        f"accept a cookie named {policy.name} from another host of the domain, so an attacker "
        "there can make visitors use the attacker's session (all users must log in again once)"
    )
    return [text]


def settings_as_markdown() -> str:
    """Return a section for each setting, in groups, for the documentation."""
    sections: dict[str, list[str]] = {title: [] for title in _TITLES.values()}
    for path, declared in SETTINGS.items():
        sections[_title(path, declared)].append(_section(path, declared))
    return "\n".join(f"## {title}\n\n" + "\n".join(parts) for title, parts in sections.items())


def _source(config: Config, path: str) -> str:
    declared = SETTINGS[path]
    unchanged = attrgetter(path)(config) == declared.default
    return config.sources.get(declared.env, DEFAULT if unchanged else "argument")


def _title(path: str, declared: Setting[Any]) -> str:
    """Return the group of a setting: its part of `Config`, or the module that declares it."""
    part = path.rpartition(".")[0]
    if part:
        return _TITLES[part]
    modules = [module for module in _MODULES if declared in vars(module).values()]
    return _TITLES[modules[0].__name__.rpartition(".")[2] if modules else "store"]


def _section(path: str, declared: Setting[Any]) -> str:
    familiar = [name for f in declared.fallbacks for name in (f.when, f.unless, f.env) if name]
    lines = [
        f"### {_code(declared.variables())}",
        "",
        f"{_plain(declared.about[0].upper() + declared.about[1:])}.",
        "",
        f"- Default: {_default(declared)}",
        *([f"- Falls back to: {_code(familiar)}"] if familiar else []),
        f"- Allowed: {_plain(declared.kind.allowed)}",
        f"- In Python: `Config.{path}`",
    ]
    return "\n".join(lines) + "\n"


def _default(declared: Setting[Any]) -> str:
    shown = declared.kind.show(declared.default)
    return declared.default_text or (UNSET if shown == UNSET else _code([shown]))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _plain(text: str) -> str:
    return text.replace("*", r"\*")
