"""The ends of sessions, by reason and over time, from the traces that the store keeps."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic
from wsgi_sessions.console.charts import Series, stacked
from wsgi_sessions.console.markup import joined, paragraph, table
from wsgi_sessions.endings import REASONS
from wsgi_sessions.operations.words import span, timestamp
from wsgi_sessions.settings.kinds import DAY, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wsgi_sessions.console.view import View
    from wsgi_sessions.endings import EndReason, EndTrace, EndTraces

_ELSEWHERE = Markup(
    '<p class="quiet">Not kept by this store. The log has each end as <code>ended</code>, with its '
    "reason.</p>"
)
_HOURS = 24
_MOST = 1000
_SECONDS = 0.3
_PARTS = 256
_HEADS = ("Reason", "Last hour", "Last day", "All kept")


@texts.shows("share")
class TraceSample(NamedTuple):
    """Traces of ends, and the share of all kept traces that was read: keys are SHA-256."""

    traces: list[EndTrace]
    share: float

    def estimate(self, number: int) -> int:
        """Return how many there are in all, where `number` are among those read."""
        return round(number / self.share)


def ends(view: View) -> Markup:
    """Return the reasons of the ends of the last 24 hours, and of all that are kept."""
    store = view.backend.endings
    if store is None:
        return _ELSEWHERE
    sample, now = _sampled(store), view.clock()
    if not sample.traces:
        return paragraph(f"None in the last {span(view.config.endings_kept)}.", "quiet")
    return joined(
        (
            paragraph(_basis(sample), "quiet"),
            _chart(sample, now),
            table(_HEADS, _totals(sample, now)),
        )
    )


def _sampled(store: EndTraces) -> TraceSample:
    deadline = monotonic() + _SECONDS
    found: list[EndTrace] = []
    for number in range(_PARTS):
        if len(found) >= _MOST or (found and monotonic() >= deadline):
            return TraceSample(found, number / _PARTS)
        found += store.matching(f"{number:02x}", _MOST)
    return TraceSample(found, 1.0)


def _basis(sample: TraceSample) -> str:
    read = len(sample.traces)
    if sample.share == 1:
        return f"From all {read:,d} traces that are kept."
    return f"An estimate, from {read:,d} traces that were read ({100 * sample.share:.2g} %)."


def _chart(sample: TraceSample, now: float) -> Markup:
    first = now // HOUR - _HOURS + 1
    counts = {reason: [0] * _HOURS for reason in REASONS}
    for trace in sample.traces:
        place = int(trace.at // HOUR - first)
        if 0 <= place < _HOURS and trace.why in counts:
            counts[trace.why][place] += 1
    series = [
        Series(reason, f"s{number}", [*map(sample.estimate, counts[reason])])
        for number, reason in enumerate(REASONS)
    ]
    labels = [timestamp((first + i) * HOUR)[11:16] for i in range(_HOURS)]
    return stacked("Ended in the last 24 hours", series, labels)


def _totals(sample: TraceSample, now: float) -> Iterator[Sequence[object]]:
    hour, day, kept = (
        Counter(trace.why for trace in sample.traces if now - trace.at < seconds)
        for seconds in (HOUR, DAY, float("inf"))
    )
    for reason, number in kept.most_common():
        numbers = (hour[reason], day[reason], number)
        yield _named(reason), *(f"{sample.estimate(each):,d}" for each in numbers)


def _named(reason: EndReason) -> Markup:
    words = REASONS.get(reason, "")
    return Markup('<span title="{}">{}</span>').format(words, texts.shown(reason))
