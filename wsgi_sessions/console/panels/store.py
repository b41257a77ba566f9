"""The store, and whether it is fit to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.console.markup import facts, joined, paragraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.numbers.store import StoreNumbers

_STATUS = Markup('<p class="status {}" role="status"><strong>{}</strong> {}</p>')


def store(numbers: StoreNumbers) -> Markup:
    """Return the state of the store, its warnings, and the time that it took to answer."""
    pieces = [_status(numbers), facts(_facts(numbers))]
    return joined([*pieces, *(paragraph(text, "status warning") for text in numbers.warnings)])


def hours(seconds: float | None) -> str:
    """Return a lifetime in words."""
    return "without end" if seconds is None else f"{seconds / 3600:g} h"


def latency(numbers: StoreNumbers) -> str:
    """Return how long each step of the check took."""
    return ", ".join(f"{name} {ms:g} ms" for name, ms in numbers.latency_ms.items())


def _status(numbers: StoreNumbers) -> Markup:
    if numbers.error is None:
        return _STATUS.format("good", "Answers.", "")
    return _STATUS.format("bad", "Not healthy:", texts.shown(numbers.error))


def _facts(numbers: StoreNumbers) -> Iterator[tuple[str, object]]:
    yield "Store", f"{numbers.backend}, {numbers.url}"
    yield "Application", numbers.application or "not named"
    if numbers.latency_ms:
        yield "Answered in", latency(numbers)
    yield "Lifetimes", f"{hours(numbers.idle_lifetime)} unused, {hours(numbers.absolute_lifetime)}"
    if numbers.quarantined is not None:
        yield "Quarantine", f"{numbers.quarantined} damaged records set aside"
