"""What goes wrong in a run: each fault strikes now and then, and has passed when `strike` returns.

A module takes hold of one thing: `workers`, `systemcalls`, `servers`, `network`, `failover`,
`takeover`, `holders`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from histories import trap
from histories.faults import failover, holders, network, servers, systemcalls, takeover, workers
from histories.places import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from histories.faults.scene import Scene


@dataclass(frozen=True)
class Fault:
    """What `strike` makes happen once, at `places`. Without `strike` it goes on all the time, by
    `options` of gunicorn. `environ` are settings of the workers that it needs."""

    places: tuple[str, ...]
    strike: Callable[[Scene], None] | None = None
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


_ALL = tuple(PLACES)
_SERVERS = ("redis", "cluster", "postgresql", "mariadb")
_ROUTES = ("redis", "postgresql", "mariadb")  # one connection leads to one server
FAULTS: dict[str, Fault] = {
    "kill": Fault(_ALL, workers.kill),
    "stop": Fault(_ALL, workers.stop),
    "stopped-holder": Fault(
        _ALL, holders.stop, environ={trap.LOCK_SECONDS: str(holders.LOCK_SECONDS)}
    ),
    "reload": Fault(_ALL, workers.reload),
    "max-requests": Fault(_ALL, options=("--max-requests=60", "--max-requests-jitter=60")),
    "system-calls": Fault(tuple(systemcalls.CALLS), systemcalls.fail),
    "pause": Fault(_SERVERS, servers.pause),
    "restart": Fault(_SERVERS, servers.restart),
    "lost-reply": Fault(_ROUTES, network.lose_replies),
    "late-command": Fault(_ROUTES, network.hold_a_command),
    "failover": Fault(("sentinel",), failover.fail_over),
    "killed-primary": Fault(("sentinel",), takeover.kill),
    "stopped-primary": Fault(("sentinel",), takeover.stop),
    "cut-off-primary": Fault(("sentinel",), takeover.cut_off),
    "resharding": Fault(("cluster",), failover.move_slots),
}


def faults_of(place: str) -> list[str]:
    """The names of the faults that can happen at a place."""
    return [name for name, fault in FAULTS.items() if place in fault.places]
