"""``wsgi-sessions``: a thin shell, one function per command, one module per group of them.

Exit codes: 0 fine; 1 a fault, as when the store is down; 2 wrong usage or configuration.
"""

from __future__ import annotations

import click

from wsgi_sessions import __version__
from wsgi_sessions.cli.commands.check import check
from wsgi_sessions.cli.commands.contexts import contexts
from wsgi_sessions.cli.commands.explaining import explain
from wsgi_sessions.cli.commands.importing import import_
from wsgi_sessions.cli.commands.leases import leases
from wsgi_sessions.cli.commands.listing import list_sessions
from wsgi_sessions.cli.commands.maintenance import purge, reindex, sweep
from wsgi_sessions.cli.commands.migration import copy
from wsgi_sessions.cli.commands.pseudonym import pseudonym
from wsgi_sessions.cli.commands.schema import migrate_schema
from wsgi_sessions.cli.commands.server import console, demo, refresh, top
from wsgi_sessions.cli.commands.sessions import count, revoke, show
from wsgi_sessions.cli.commands.setup import config, keygen, metrics
from wsgi_sessions.cli.commands.versions import versions
from wsgi_sessions.cli.shell import Commands

_COMMANDS = [
    *(demo, config, keygen, check, metrics),
    *(count, list_sessions, show, explain, leases, pseudonym, revoke),
    *(sweep, purge, reindex, migrate_schema, copy, import_),
    *(contexts, versions, refresh, console, top),
]


@click.group(cls=Commands, commands=_COMMANDS)
@click.version_option(__version__, prog_name="wsgi-sessions")
def main() -> None:
    """Sessions that WSGI workers share."""
