"""The command about leases: lists sessions in use."""

from __future__ import annotations

import click

from wsgi_sessions.cli.output import counted, json_option, print_columns, print_json, say
from wsgi_sessions.cli.shell import answering_store, read_config, url_option
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import short_key

_ROLES = {"holder": "a request", "claim": "a refresher"}
_OFF = (
    "leases are off: requests take them only if sessions are refreshed in the background, and "
    "WSGI_SESSIONS_REFRESH is not set here (the application may still pass a hook itself)"
)


@click.command()
@url_option
@json_option
def leases(url: str | None, *, as_json: bool) -> None:
    """List sessions in use.

    A session is in use by requests that hold it, or by a refresher that has claimed it. Without
    background refreshes there are no leases.
    """
    config = read_config(url)
    with answering_store(config, "look") as backend:
        if backend.lease_listing is None:
            raise ConfigurationError(f"the {backend.name} store does not list its leases")
        found = sorted(set(backend.lease_listing.leases()))
    if as_json:
        print_json([{**lease._asdict(), "key": short_key(lease.key)} for lease in found])
        return
    if found:
        rows = [(short_key(x.key), _ROLES[x.role], x.holder, f"{x.seconds:.0f} s") for x in found]
        print_columns([("KEY", "USED BY", "HOLDER", "AT MOST FOR"), *rows])
    elif config.refresh.hook is None:
        say(_OFF, err=True)
    say(f"{counted(len({lease.key for lease in found}), 'session')} in use")
