"""Build the adoption of imported sessions from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.importers.adoption import Adoption, end_of, log_end
from wsgi_sessions.importers.urls import ImportOptions, library_of, open_importer
from wsgi_sessions.stack.config import naming_variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.manager import SessionManager
    from wsgi_sessions.importers.base import Importer
    from wsgi_sessions.stack.config import Config


def adoption_of(
    config: Config, manager: SessionManager, clock: Callable[[], float] = wall_clock
) -> Adoption | None:
    """Return what takes over the sessions that the configuration names; None once that is over.

    Raises ConfigurationError.
    """
    url, until = config.imports.source, config.imports.until
    if url is None or until is None:
        return None
    if clock() >= end_of(until):  # the source may no longer exist
        log_end(library_of(url))
        return None
    return Adoption(manager, importer_at(url, config, clock=clock), until=until, clock=clock)


@naming_variables()
def importer_at(
    url: str,
    config: Config,
    *,
    clock: Callable[[], float] = wall_clock,
    unpickle: Callable[[bytes], object] | None = None,
) -> Importer:
    """Return the importer at a URL, with the secrets and times of a configuration.

    Raises ConfigurationError.
    """
    secrets = [s.encode("utf-8", "surrogateescape") for s in config.imports.secret_keys]
    options = ImportOptions(secrets, config.idle_lifetime, config.timeout, clock, unpickle)
    return open_importer(url, options)
