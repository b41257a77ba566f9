"""Open the store that the settings name, for `stack` and for commands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_sessions.core.endings.report import EndingReport
from wsgi_sessions.core.endings.traces import traces_in
from wsgi_sessions.core.events import Events
from wsgi_sessions.core.limits.lifetimes import Lifetimes, endless
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.migration.takeover import look_through, read_through
from wsgi_sessions.stack.choice.chosen import Chosen, open_chosen
from wsgi_sessions.stack.config import naming_variables

if TYPE_CHECKING:
    from wsgi_sessions.contract import Backend, Purpose
    from wsgi_sessions.stack.config import Config


@naming_variables()
def open_store(config: Config, purpose: Purpose = "change") -> Chosen:
    """Open the store that the settings name (see `open_chosen`, also for `purpose`); it takes over
    sessions from the previous store if the settings name one.

    The caller closes it. Raises ConfigurationError.
    """
    chosen = open_chosen(config, purpose)
    if config.migrate_from is None:
        return chosen
    old = open_url(config.migrate_from, config, purpose)
    if purpose == "look":
        return chosen._replace(backend=look_through(chosen.backend, old))
    both = read_through(
        chosen.backend,
        old,
        absolute_lifetime=endless(config.absolute_lifetime),
        report=report_in(old, config),
    )
    return chosen._replace(backend=both)


def report_in(old: Backend, config: Config) -> EndingReport:
    """Return what tells the ends of sessions that leave this store for another one."""
    secret = config.secret_keys[-1] if config.secret_keys else None
    lifetimes = Lifetimes(config.idle_lifetime, endless(config.absolute_lifetime))
    events, traces = (
        Events(pseudonyms=Pseudonyms(secret)),
        traces_in(old.endings, config.endings_kept),
    )
    return EndingReport(events, lifetimes, old, traces)


@naming_variables()
def open_url(url: str, config: Config, purpose: Purpose = "use") -> Backend:
    """Open the store at a URL, with all other settings. Raises ConfigurationError."""
    return open_chosen(replace(config, url=url, migrate_from=None), purpose).backend
