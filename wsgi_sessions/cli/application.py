"""The application that a command is about: the configured one, or the only one in the store."""

from __future__ import annotations

import os
import re
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wsgi_sessions.cli.output import say
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.settings.declaration import DEFAULT
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.config import Config
from wsgi_sessions.stack.declared.store import APPLICATION
from wsgi_sessions.stack.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_sessions.contract import Backend

FOUND = "found in the store"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def in_default_folder(config: Config, environ: Mapping[str, str]) -> Config:
    """Return the settings with the one application that has a default folder, if none is named.

    Raises ConfigurationError if there are several.
    """
    source = config.sources.get("WSGI_SESSIONS_URL", "")
    if config.application is not None or DEFAULT not in source.split(", "):
        return config
    folder = unquote(urlsplit(config.urls[-1]).path)
    names = _names_in(os.path.join(folder, "applications"))
    if names and _has_records(os.path.join(folder, "sessions")):
        _say_of_others(names)
        return config
    name = _only(names, folder)
    if name is None:
        return config
    named = Config.from_environ({**environ, APPLICATION: name})
    return replace(named, sources={**named.sources, APPLICATION: FOUND})


def in_store(config: Config) -> Config:
    """Return the settings with the one application that uses the store, if none is named.

    No application is found in a store that does not answer or does not exist yet. Raises
    ConfigurationError if there are several.
    """
    if config.application is not None:
        return config
    names, are_others = _applications(config)
    if are_others:
        _say_of_others(names)
        return config
    name = _only(names, hide_credentials(config.url))
    if name is None:
        return config
    return replace(config, application=name, sources={**config.sources, APPLICATION: FOUND})


def has_come(config: Config) -> bool:
    """Return whether `in_store` finds an application by now."""
    names, are_others = _applications(config)
    return bool(names) and not are_others


def _applications(config: Config) -> tuple[list[str], bool]:
    """Return the named applications in a store, and whether it is also used without a name."""
    try:
        opened = open_store(config, "look").backend
    except ConfigurationError:
        return [], False  # opening it next reports the fault, or creates it
    with closing(opened) as backend:
        try:
            names = [] if backend.tenants is None else backend.tenants.names()
            return names, bool(names) and backend.name == "redis" and _has_unnamed(backend)
        except StoreUnavailable:
            return [], False


def _names_in(folder: str) -> list[str]:
    return sorted(filter(_NAME.fullmatch, _entries_of(folder)))


def _has_records(sessions: str) -> bool:
    return any(_entries_of(os.path.join(sessions, shard)) for shard in _entries_of(sessions))


def _entries_of(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _only(names: list[str], place: str) -> str | None:
    if len(names) > 1:
        raise ConfigurationError(
            f"several applications keep sessions in {place}: set {APPLICATION} to one of them, as "
            f"its workers log it when they start ({', '.join(names)})"
        )
    return names[0] if names else None


def _has_unnamed(backend: Backend) -> bool:
    return next(iter(backend.iteration.keys()), None) is not None


def _say_of_others(names: list[str]) -> None:
    say(
        "note: sessions of named applications are in this store too and are left out: set "
        f"{APPLICATION} to one of {', '.join(names)}",
        err=True,
    )
