"""Numbers as text for Prometheus; types and formats are those of prometheus_client."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder

from wsgi_sessions.metrics.catalogue import CATALOGUE, COUNTED_AT, LIVE, PREFIX, PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric as Family

    from wsgi_sessions.metrics.catalogue import Metric
    from wsgi_sessions.metrics.server_files import Totals


def exposition(totals: Totals, accept: str) -> tuple[str, bytes]:
    """Return the type and the text of an answer to a scrape with this Accept header."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(totals))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class _Collected:
    """A collector, as prometheus_client asks for it."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE.values():
            yield self._family(metric)
        about = "Worker processes whose numbers are part of these."
        yield GaugeMetricFamily(f"{PREFIX}{PROCESSES}", about, self._totals.processes)
        counted = GaugeMetricFamily(f"{PREFIX}{COUNTED_AT}", "The time of the last count of them.")
        for _, values in self._series(LIVE):
            counted.add_metric([], values[1])
        yield counted

    def _family(self, metric: Metric) -> Family:
        name = f"{PREFIX}{metric.name}"
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(name, metric.about, labels=metric.labels)
            for labels, values in self._series(metric):
                histogram.add_metric(labels, _buckets(metric, values), values[-1])
            return histogram
        family = (
            CounterMetricFamily(name, metric.about, labels=metric.labels)
            if metric.kind == "counter"
            else GaugeMetricFamily(name, metric.about, labels=metric.labels)
        )
        for labels, values in self._series(metric):
            family.add_metric(labels, values[0])
        return family

    def _series(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        for key, values in sorted(self._totals.series.items()):
            if key.metric == metric.name:
                yield key.labels, values


def _buckets(metric: Metric, values: list[float]) -> list[tuple[str, float]]:
    """Return the cumulative buckets; the last one, for infinity, is the number of all."""
    total = 0.0
    buckets = []
    for bound, value in zip((*metric.bounds, inf), values, strict=False):
        total += value
        buckets.append(("+Inf" if bound == inf else str(float(bound)), total))
    return buckets
