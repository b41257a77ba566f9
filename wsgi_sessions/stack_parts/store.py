"""From the settings to the store: a part of `stack`, and what commands use too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.backend_choice.choice import Chosen, open_chosen
from wsgi_sessions.migration.takeover import read_through

if TYPE_CHECKING:
    from wsgi_sessions.config import Config
    from wsgi_sessions.stores.base import Backend


def open_store(config: Config) -> Chosen:
    """The store that the settings name (see `open_chosen`), taking over from the one that was used
    before if they name that too.

    Who opens it closes it. Raises ConfigurationError.
    """
    chosen = open_chosen(config)
    if config.migrate_from is None:
        return chosen
    old = open_url(config.migrate_from, config)
    both = read_through(chosen.backend, old, absolute_lifetime=config.absolute_lifetime)
    return chosen._replace(backend=both)


def open_url(url: str, config: Config) -> Backend:
    """The store at a URL, with the rest of the settings. Raises ConfigurationError."""
    return open_chosen(replace(config, url=url, migrate_from=None)).backend
