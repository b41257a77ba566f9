"""Checks whether the application would start with these settings, and find all they name."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError, SessionError
from wsgi_sessions.identity import new_secret
from wsgi_sessions.operations.server_check import Finding
from wsgi_sessions.stack.build import build
from wsgi_sessions.stack.config import with_variables
from wsgi_sessions.stack.imports import importer_at
from wsgi_sessions.stack.store import open_url
from wsgi_sessions.stack.versions import open_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.stack.build import Stack
    from wsgi_sessions.stack.config import Config


_NO_NAME = "wsgi-sessions-check"


def faults(config: Config, backend: Backend) -> list[Finding]:
    """Return the faults that keep an application with these settings from starting, or from finding
    its hooks, its source of version stamps, its contexts, the sessions to import or the previous
    store.

    `config` names one store. Hooks are imported, which runs the application's own code, but not
    called. Nothing is written. Arguments passed to `build` in Python are not seen.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where servers also find the application
    return [Finding("fault", topic, text) for topic, text in _faults(config, backend)]


def missing_secrets(config: Config) -> list[Finding]:
    """Return the fault of several stores without a common secret."""
    if len(config.urls) == 1 or config.secret_keys:
        return []
    text = (
        "WSGI_SESSIONS_SECRET_KEYS is not set, and several stores need it: the application will "
        "not start; make one with 'wsgi-sessions keygen'"
    )
    return [Finding("fault", "keys", text)]


def _faults(config: Config, backend: Backend) -> Iterator[tuple[str, str]]:
    started: list[Stack] = []
    yield from _tried("start", lambda: started.append(_started(config)))
    for stack in started:
        with closing(stack):
            if config.version.is_on:
                yield from _tried("versions", lambda: _ask_stamps(config, backend))
            if stack.contexts and backend.contexts is not None:
                yield from _tried("contexts", lambda: _ask_contexts(config, backend))
    source = config.imports.source
    if source is not None:
        yield from _tried("import", lambda: _ask_import(source, config))
    old = config.migrate_from
    if old is not None:
        yield from _tried("old store", lambda: _ask_store(old, config))


def _started(config: Config) -> Stack:
    """Build it as a server does, except for the store, which is examined elsewhere: nothing is
    made."""
    trial = replace(
        config,
        url="memory://",
        migrate_from=None,
        application=None,
        remarks=(),
        secret_keys=config.secret_keys or (new_secret(),),
    )
    return build(lambda _environ, _start: [], trial)


def _ask_stamps(config: Config, backend: Backend) -> None:
    stamps, opened = open_versions(config, backend)
    try:
        stamps.current(["global"])
    finally:
        if opened is not None:
            opened.close()


def _ask_contexts(config: Config, backend: Backend) -> None:
    if backend.contexts is not None and config.context.load is None:
        for key in config.context.key:
            backend.contexts.get(_NO_NAME, key)


def _ask_import(url: str, config: Config) -> None:
    with closing(importer_at(url, config).records) as records:
        records.load(_NO_NAME)


def _ask_store(url: str, config: Config) -> None:
    with closing(open_url(url, config, "look")) as old:
        old.sessions.ping()


def _tried(topic: str, work: Callable[[], object]) -> Iterator[tuple[str, str]]:
    try:
        work()
    except ConfigurationError as error:
        yield topic, f"the application will not start: {error}"
    except SessionError as error:
        yield topic, with_variables(str(error))
    except Exception as error:  # noqa: BLE001  # the application's own modules may raise anything
        yield topic, f"the application will not start: {type(error).__name__}: {error}"
