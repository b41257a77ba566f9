"""The store, and whether it is fit to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.config import with_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_sessions.console.view import View


@texts.shows("backend", "healthy")
class StoreNumbers(Struct, frozen=True):
    """The state of the store.

    `error` says why it is not healthy. Lifetimes are in seconds; None is without end. `quarantined`
    is the number of damaged records that were set aside; None: the store has no quarantine.
    """

    backend: str
    url: str
    application: str | None
    healthy: bool
    error: str | None
    latency_ms: Mapping[str, float]
    idle_lifetime: float
    absolute_lifetime: float | None
    quarantined: int | None
    warnings: list[str]


def store_numbers(view: View) -> StoreNumbers:
    """Return the state of the store. Does not raise if the store does not answer."""
    report, config = view.health(), view.config
    quarantine = view.backend.quarantine if report.healthy else None
    absolute = view.lifetimes.absolute
    warnings = map(str, report.details.get("warnings", ()))
    return StoreNumbers(
        report.backend,
        hide_credentials(config.url),
        config.application,
        report.healthy,
        None if report.healthy else with_variables(str(report.details.get("error", ""))),
        report.details.get("latency_ms", {}),
        config.idle_lifetime,
        None if absolute == float("inf") else absolute,
        None if quarantine is None else quarantine.quarantined(),
        [*map(with_variables, warnings)],
    )
