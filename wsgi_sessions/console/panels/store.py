"""The store, and whether it is fit to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.markup import facts, joined, paragraph
from wsgi_sessions.settings.kinds import hide_credentials
from wsgi_sessions.stack.config import with_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.view import View
    from wsgi_sessions.health.checker import HealthReport

_STATUS = Markup('<p class="status {}" role="status"><strong>{}</strong> {}</p>')


def store(view: View) -> Markup:
    """Return the state of the store, its warnings, and the time that it took to answer."""
    report = view.health()
    pieces = [_status(report), facts(_facts(view, report))]
    warnings = map(with_variables, map(str, report.details.get("warnings", ())))
    return joined([*pieces, *(paragraph(text, "status warning") for text in warnings)])


def _status(report: HealthReport) -> Markup:
    if report.healthy:
        return _STATUS.format("good", "Answers.", "")
    told = with_variables(texts.shown(report.details.get("error", "")))
    return _STATUS.format("bad", "Not healthy:", told)


def _facts(view: View, report: HealthReport) -> Iterator[tuple[str, object]]:
    config = view.config
    yield "Store", f"{report.backend}, {hide_credentials(config.url)}"
    yield "Application", config.application or "not named"
    steps = report.details.get("latency_ms", {})
    if steps:
        yield "Answered in", ", ".join(f"{name} {ms:g} ms" for name, ms in steps.items())
    yield "Lifetimes", f"{_hours(config.idle_lifetime)} unused, {_hours(view.lifetimes.absolute)}"
    if report.healthy and view.backend.quarantine is not None:
        yield "Quarantine", f"{view.backend.quarantine.quarantined()} damaged records set aside"


def _hours(seconds: float) -> str:
    return "without end" if seconds == float("inf") else f"{seconds / 3600:g} h"
