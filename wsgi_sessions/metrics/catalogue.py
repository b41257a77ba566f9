"""The catalogue: every metric, with its meaning, its labels and their words.

Names and units follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/);
`wsgi_sessions_` stands before each name, and `_total` after that of a counter.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from wsgi_sessions import texts
from wsgi_sessions.core.commit.results import Result
from wsgi_sessions.core.events import EventName
from wsgi_sessions.endings import EndReason, RefusalReason

if TYPE_CHECKING:
    from collections.abc import Mapping

MetricKind = Literal["counter", "histogram", "gauge", "reading"]
"""A counter and a histogram grow, and are the sum of all processes, ended ones too. A gauge is the
sum of the live ones. A reading is the latest of all: a value and its time."""

PREFIX = "wsgi_sessions_"
OTHER = "other"
"""The word for all that has no word of its own."""
USES = ("untouched", "read", "changed", "created")
RESULTS: tuple[Result, ...] = get_args(Result)
FAILURES = ("conflict", "unavailable", "refused")
OUTCOMES = ("ok", "absent", "exists", "conflict", "gone", "unavailable", "not-asked", "failed")
ENDINGS: tuple[str, ...] = get_args(EndReason)
UNEXPLAINED = "unexplained"
"""The word for refused cookies that were not looked into, so many came at once."""
REFUSALS = (*get_args(RefusalReason), *ENDINGS, UNEXPLAINED)
CAUSES = (
    *("store-unavailable", "write-in-doubt", "lock-timeout", "too-many-waiting", "lock-lost"),
    *("too-many-sessions", "unsupported-format", "corrupt-record", OTHER),
)
KEYS = 50
"""Keys of conflicts that each process names; more are counted under `OTHER`."""


@texts.shows("name", "kind")
class Metric(NamedTuple):
    """One metric. `words`: those of its label, if there is one label and its words are known.

    `bounds` of a histogram are its buckets' upper bounds, without infinity.
    """

    name: str
    kind: MetricKind
    about: str
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """The number of values of one series: a histogram has its buckets, and the sum."""
        return {"histogram": len(self.bounds) + 2, "reading": 2}.get(self.kind, 1)

    @property
    def full_name(self) -> str:
        """The name that Prometheus shows."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


REQUESTS = Metric(
    "requests",
    "counter",
    "Requests by what they did with their session.",
    ("use",),
    USES,
)
COMMITS = Metric(
    "commits",
    "counter",
    "Commits that changed what is stored, or tried to, by their result.",
    ("result",),
    (*(result for result in RESULTS if result != "unchanged"), *FAILURES),
)
MERGES = Metric("merges", "counter", "Commits that were put onto another request's changes.")
CONFLICTS = Metric(
    "conflicts",
    "counter",
    "Changes of one key by two requests that could not be merged.",
    ("key", "kind"),
)
ENDS = Metric("ends", "counter", "Ends of sessions by their reason.", ("reason",), ENDINGS)
REFUSED = Metric(
    "refused_cookies",
    "counter",
    "Session cookies that were presented and not accepted, by the reason.",
    ("reason",),
    REFUSALS,
)
ERRORS = Metric(
    "errors",
    "counter",
    "Requests that were refused, or lost changes, because of a fault, by its cause.",
    ("cause",),
    CAUSES,
)
EVENTS = Metric("events", "counter", "Events of sessions.", ("event",), get_args(EventName))
STORE_CALLS = Metric(
    "store_call_duration_seconds",
    "histogram",
    "Calls to the session store by operation and outcome.",
    ("operation", "outcome"),
    bounds=(5e-05, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0),
)
ATTEMPTS = Metric(
    "commit_attempts",
    "histogram",
    "Attempts that a commit took: one more for each other request that was faster.",
    bounds=(1, 2, 3, 5, 10, 20, 50, 100),
)
SIZES = Metric(
    "stored_size_bytes",
    "histogram",
    "Sizes of sessions when they were stored.",
    bounds=(256, 1024, 4096, 16384, 65536, 262144, 1048576),
)
WAITS = Metric(
    "lock_wait_duration_seconds",
    "histogram",
    "Waits for the turn with a session, by their outcome.",
    ("outcome",),
    ("acquired", "timed-out"),
    (0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0),
)
BREAKER = Metric(
    "store_breaker_open",
    "gauge",
    "Worker processes that do not ask the store, because it has not answered.",
)
LEASES = Metric("leases_in_use", "gauge", "Sessions that requests hold a lease on.")
LIVE = Metric("live_sessions", "reading", "Live sessions in the store, at the last count.")

CATALOGUE: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            *(REQUESTS, COMMITS, MERGES, CONFLICTS, ENDS, REFUSED, ERRORS, EVENTS),
            *(STORE_CALLS, ATTEMPTS, SIZES, WAITS, BREAKER, LEASES, LIVE),
        )
    }
)
COUNTED_AT = "live_sessions_counted_timestamp_seconds"
PROCESSES = "worker_processes"
