"""View: what the panels look at, as of one moment. Looking changes nothing in the store."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.clock import monotonic, wall_clock
from wsgi_sessions.console.markup import NOTHING
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.health.checker import HealthChecker
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.sampling import sampled
from wsgi_sessions.operations.teller import teller_on
from wsgi_sessions.stack.secrets import kept_secrets
from wsgi_sessions.stack.sessions import lifetimes_of
from wsgi_sessions.stores.looking import looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wsgi_sessions.console.scrape import MetricsPath
    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.health.checker import HealthReport
    from wsgi_sessions.operations.sampling import Sample
    from wsgi_sessions.operations.teller import Teller
    from wsgi_sessions.stack.config import Config

FRESH_SECONDS = 2.0
"""Seconds for which one sample of the store serves every request for the page."""
_KEPT_KEYS = 20_000
_COUNT_SECONDS = 60.0
_KEPT_COUNTS = 24 * 60


@texts.shows("at")
class LiveCount(NamedTuple):
    """The number of live sessions at one time (seconds since the epoch)."""

    at: float
    sessions: int


class View:
    """One store, opened to look, as the console sees it: never written to.

    It keeps the numbers of live sessions of its own looks, and the store keys that it has shown, so
    that a link by a short key needs no scan. `metrics`: those of a server, for what no store keeps.
    `clock`: seconds since the epoch.
    """

    def __init__(
        self,
        backend: Backend,
        config: Config,
        metrics: MetricsPath | None = None,
        *,
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self.backend = looking(backend)
        self.config = config
        self.metrics = metrics
        self.clock = clock
        self.lifetimes: Lifetimes = lifetimes_of(config)
        self.counts: list[LiveCount] = []
        self._checker = HealthChecker(self.backend, timeout=config.health.timeout, effect="look")
        self._lock = threading.Lock()
        self._sample: Sample | None = None
        self._sampled_at = 0.0
        self._pseudonyms: Pseudonyms | None = None
        self._keys: dict[str, str] = {}

    def health(self) -> HealthReport:
        """Return whether the store answers. Never raises."""
        return self._checker.check()

    def sample(self) -> Sample:
        """Return some of the live sessions, at most two seconds old. Raises StoreUnavailable."""
        with self._lock:
            if self._sample is None or monotonic() - self._sampled_at > FRESH_SECONDS:
                self._sample = sampled(self.backend, self.lifetimes, self.clock())
                self._sampled_at = monotonic()
                self._note(self._sample)
            return self._sample

    def remember(self, keys: Iterable[str]) -> None:
        """Note store keys that are shown as links."""
        with self._lock:
            self._keys.update((short_key(key), key) for key in keys)
            while len(self._keys) > _KEPT_KEYS:
                self._keys.pop(next(iter(self._keys)))

    def shown_key(self, short: str) -> str | None:
        """Return the whole store key that was shown as this."""
        return self._keys.get(short)

    def pseudonym(self, user: str | None) -> str:
        """Return the name of a user in the log; ``?`` if the secret for it is unknown here."""
        if user is not None and self._pseudonyms is None:
            with suppress(ConfigurationError):
                self._pseudonyms = Pseudonyms(kept_secrets(self.config, self.backend)[-1])
        if user is None:
            return NOTHING
        return "?" if self._pseudonyms is None else self._pseudonyms.of(user) or NOTHING

    def teller(self) -> Teller:
        """Return what tells the stories of sessions."""
        return teller_on(self.backend, self.config, self.clock)

    def _note(self, sample: Sample) -> None:
        is_due = not self.counts or sample.at - self.counts[-1].at >= _COUNT_SECONDS
        if sample.total is not None and is_due:
            self.counts.append(LiveCount(sample.at, sample.total))
            del self.counts[:-_KEPT_COUNTS]
