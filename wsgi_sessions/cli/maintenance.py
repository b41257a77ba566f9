"""Commands that clean up."""

from __future__ import annotations

import click

from wsgi_sessions.cli.output import json_option, print_json
from wsgi_sessions.cli.shell import answering_store, read_config
from wsgi_sessions.sweeper import Sweeper


@click.command()
@json_option
def sweep(*, as_json: bool) -> None:
    """Remove expired sessions, and what crashes left behind, now."""
    config = read_config()
    with answering_store(config) as backend:
        swept = Sweeper(backend, interval=0, max_sessions=config.max_sessions).sweep()
    if as_json:
        print_json({"store": backend.name, **swept._asdict()})
        return
    counts = {"expired": swept.expired, **swept.leftovers}
    live = "" if swept.live is None else f"; {swept.live} are live"
    click.echo(f"removed {', '.join(f'{n} {name}' for name, n in counts.items())}{live}")
