"""From the settings to the store: a part of `stack`, and what commands use too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.core.limits.lifetimes import endless
from wsgi_sessions.migration.takeover import look_through, read_through
from wsgi_sessions.stack.choice.chosen import Chosen, open_chosen
from wsgi_sessions.stack.config import naming_variables

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, Purpose
    from wsgi_sessions.stack.config import Config


@naming_variables()
def open_store(config: Config, purpose: Purpose = "change") -> Chosen:
    """The store that the settings name (for that and `purpose` see `open_chosen`), taking over from
    the one that was used before if they name that too.

    Who opens it closes it. Raises ConfigurationError.
    """
    chosen = open_chosen(config, purpose)
    if config.migrate_from is None:
        return chosen
    old = open_url(config.migrate_from, config, purpose)
    if purpose == "look":
        return chosen._replace(backend=look_through(chosen.backend, old))
    both = read_through(chosen.backend, old, absolute_lifetime=endless(config.absolute_lifetime))
    return chosen._replace(backend=both)


@naming_variables()
def open_url(url: str, config: Config, purpose: Purpose = "use") -> Backend:
    """The store at a URL, with the rest of the settings. Raises ConfigurationError."""
    return open_chosen(replace(config, url=url, migrate_from=None), purpose).backend
