"""The ends of sessions, by reason and over time, from the traces that the store keeps."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.console.numbers.live import HOURS
from wsgi_sessions.endings import REASONS
from wsgi_sessions.settings.kinds import DAY, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsgi_sessions.console.view import View
    from wsgi_sessions.endings import EndReason, EndTrace, EndTraces

_MOST = 1000
_SECONDS = 0.3
_PARTS = 256


@texts.shows("why")
class ReasonNumbers(Struct, frozen=True):
    """The sessions that ended for one reason: in the last hour, the last day, and in all kept."""

    why: EndReason
    last_hour: int
    last_day: int
    kept: int


@texts.shows("read", "share")
class EndNumbers(Struct, frozen=True):
    """The ends of which traces are kept, for `kept_seconds`.

    `read` traces are a `share` of all; where it is below 1, the numbers are estimates. `by_hour`
    has, for each reason, the ends in each of the last 24 hours, the first of which begins at
    `first_hour` (seconds since the epoch).
    """

    read: int
    share: float
    kept_seconds: float
    first_hour: float
    by_hour: dict[str, list[int]]
    by_reason: list[ReasonNumbers]

    def in_words(self) -> str:
        """Return what the numbers are based on, as a sentence."""
        if self.share == 1:
            return f"From all {self.read:,d} traces that are kept."
        return f"An estimate, from {self.read:,d} traces that were read ({100 * self.share:.2g} %)."


def end_numbers(view: View) -> EndNumbers | None:
    """Return the ends by reason; None if the store keeps no traces. Raises StoreUnavailable."""
    store, now = view.backend.endings, view.clock()
    if store is None:
        return None
    traces, share = _sampled(store)
    first = now // HOUR - HOURS + 1
    return EndNumbers(
        len(traces),
        share,
        view.config.endings_kept,
        first * HOUR,
        _by_hour(traces, share, first),
        list(_by_reason(traces, share, now)),
    )


def _sampled(store: EndTraces) -> tuple[list[EndTrace], float]:
    """Return traces, and the share of all kept ones that they are: keys are SHA-256."""
    deadline = monotonic() + _SECONDS
    found: list[EndTrace] = []
    for number in range(_PARTS):
        if len(found) >= _MOST or (found and monotonic() >= deadline):
            return found, number / _PARTS
        found += store.matching(f"{number:02x}", _MOST)
    return found, 1.0


def _by_hour(traces: list[EndTrace], share: float, first: float) -> dict[str, list[int]]:
    counts = {reason: [0] * HOURS for reason in REASONS}
    for trace in traces:
        place = int(trace.at // HOUR - first)
        if 0 <= place < HOURS and trace.why in counts:
            counts[trace.why][place] += 1
    return {
        reason: [round(number / share) for number in numbers] for reason, numbers in counts.items()
    }


def _by_reason(traces: list[EndTrace], share: float, now: float) -> Iterator[ReasonNumbers]:
    hour, day, kept = (
        Counter(trace.why for trace in traces if now - trace.at < seconds)
        for seconds in (HOUR, DAY, float("inf"))
    )
    for why, number in kept.most_common():
        numbers = (round(each / share) for each in (hour[why], day[why], number))
        yield ReasonNumbers(why, *numbers)
