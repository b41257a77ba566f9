"""Metrics, as configured: one meter for all processes of a server, without any set-up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.http.readers import Readers
from wsgi_sessions.metrics.meter import meter_for
from wsgi_sessions.metrics.middleware import MetricsMiddleware, require_client
from wsgi_sessions.metrics.server_files import ServerFiles, ServerName
from wsgi_sessions.stack.choice.chosen import default_folder
from wsgi_sessions.stack.choice.server_process import (
    Process,
    number_space,
    server_of_this_process,
    this_process,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.metrics.meter import ProcessMeter
    from wsgi_sessions.stack.config import Config


def meter_of(config: Config) -> ProcessMeter | None:
    """Return the meter of the server that this process belongs to; None if metrics are off.

    The server is the process that the workers were forked from, or else this one; forks keep to
    what this process found. Nothing is written before something is counted. Raises
    ConfigurationError.
    """
    if config.metrics.path is None:
        return None
    require_client()
    if config.metrics.readers == "token" and config.health.token is None:
        raise ConfigurationError(
            "`metrics.readers=token` needs `health.token`: make one with 'wsgi-sessions keygen'"
        )
    server = server_of_this_process() or this_process()
    name = ServerName(number_space(), _named(server), f"{config.application} {config.store_prefix}")

    def root() -> str:  # of the user of each process, who may not be that of the server
        return os.path.join(config.choice_folder or default_folder(), "metrics")

    return meter_for(ServerFiles(root, name, _ProcessesOfHost()))


def with_metrics(
    app: WSGIApplication, config: Config, meter: ProcessMeter | None
) -> WSGIApplication:
    """Return the application with the path of its metrics, if there is one."""
    if meter is None or config.metrics.path is None:
        return app
    readers = Readers(config.metrics.readers, config.health.token)
    path = config.metrics.path
    return MetricsMiddleware(app, meter.totals, path=path, readers=readers).__call__


def _named(process: Process) -> str:
    return f"{process.pid}-{process.started}"


class _ProcessesOfHost:
    """See `Processes`."""

    def here(self) -> str:
        return _named(this_process())

    def is_alive(self, name: str) -> bool:
        pid, _, started = name.partition("-")
        return Process(int(pid), int(started)).is_alive()
