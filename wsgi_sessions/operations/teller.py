"""Teller: finds the stories of sessions in a store, live and ended ones. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions import texts
from wsgi_sessions.clock import wall_clock
from wsgi_sessions.core.draft import CHAIN, principal_of
from wsgi_sessions.core.endings.expiry import expiry_of
from wsgi_sessions.core.pseudonyms import Pseudonyms
from wsgi_sessions.core.record.envelope import open_sealed
from wsgi_sessions.core.record.tombstones import ENDED, UNANNOUNCED
from wsgi_sessions.endings import REASONS
from wsgi_sessions.errors import ConfigurationError, CorruptRecord, UnsupportedFormat
from wsgi_sessions.identity import short_key
from wsgi_sessions.operations.inspection import stored_keys
from wsgi_sessions.operations.story import Story, StoryStep, of_envelope, of_trace
from wsgi_sessions.stack.secrets import kept_secrets
from wsgi_sessions.stack.sessions import lifetimes_of
from wsgi_sessions.versions.policy import STAMPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wsgi_sessions.contract import Backend, Record
    from wsgi_sessions.core.commit.loop import Lifetimes
    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.endings import EndTrace
    from wsgi_sessions.stack.config import Config

MOST = 20
"""The most sessions of a key or a user that are told of, unless a moment is asked for."""
MOST_AROUND = 1000


def teller_on(backend: Backend, config: Config, clock: Callable[[], float] = wall_clock) -> Teller:
    """Return what tells the stories of sessions in the store of these settings."""
    try:
        pseudonyms = [Pseudonyms(secret) for secret in kept_secrets(config, backend)]
    except ConfigurationError:
        pseudonyms = []
    return Teller(backend, lifetimes_of(config), pseudonyms, config.context.key, clock)


class Teller:
    """Tells the stories of sessions in one store.

    `pseudonyms`: one of each secret that is known, newest last. `context_keys`: those of contexts.
    `clock`: seconds since the epoch. Every method may raise StoreUnavailable.
    """

    def __init__(
        self,
        backend: Backend,
        lifetimes: Lifetimes,
        pseudonyms: Sequence[Pseudonyms] = (),
        context_keys: Sequence[str] = (),
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._backend = backend
        self._lifetimes = lifetimes
        self._pseudonyms = pseudonyms
        self._context_keys = context_keys
        self._clock = clock

    def of_key(self, beginning: str, most: int = MOST) -> list[Story]:
        """Return the stories of the sessions whose store keys begin so, oldest first."""
        endings = self._backend.endings
        traces = [] if endings is None else endings.matching(beginning, most)
        return self._told(stored_keys(self._backend, beginning, most), traces)

    def of_user(self, principal: str, most: int = MOST) -> list[Story]:
        """Return the stories of a user's live sessions and of the latest ended ones."""
        endings, traces = self._backend.endings, []
        users = {pseudonyms.of(principal) for pseudonyms in self._pseudonyms}
        if endings is not None:
            traces = [t for user in users if user for t in endings.of_user(user, most)]
            known = {trace.key for trace in traces}
        keys = self._backend.index.keys_of(principal)
        if endings is not None:  # a damaged record names no user, but the index still lists it
            lost = (endings.trace_of(key) for key in keys if key not in known)
            traces += [trace for trace in lost if trace is not None]
        stories = self._told(keys, traces)
        return [*self._inferred(keys, stories), *stories]

    def store_ahead(self) -> float | None:
        """Return how many seconds the store's clock is ahead of this one; None: it has none."""
        clock = self._backend.clock
        return None if clock is None else clock.now() - self._clock()

    def gaps(self, kept_seconds: float) -> Iterator[str]:
        """Yield what no story tells, and why; `kept_seconds`: see ``endings_kept``."""
        yield (
            "requests that only read a session, and commits more than 5 s before its latest one: "
            "no record holds them"
        )
        yield (
            "conflicts, refreshes, rebuilds and restored contexts before the latest one of each; "
            "refused contexts; who took a step: all of that is in the log alone"
        )
        if self._backend.endings is None or kept_seconds <= 0:
            yield "why sessions ended: this store keeps no traces of ends"
            return
        if not self._pseudonyms:
            yield "ended sessions of a user: the secret that leads to their traces is unknown here"
        if self._backend.expires_silently:
            yield "the end of sessions that the server deleted when they expired: no trace is left"
        yield "ends longer ago than traces are kept, or whose trace was lost in a crash"

    # -- inside --------------------------------------------------------------------------------

    def _told(self, keys: Sequence[str], traces: Sequence[EndTrace]) -> list[Story]:
        by_key = {trace.key: trace for trace in traces}
        wanted = dict.fromkeys([*keys, *by_key])
        found = (self._story(key, by_key.get(key)) for key in wanted)
        stories = [story for story in found if story is not None]
        return sorted(stories, key=lambda story: story.steps[-1].at if story.steps else 0.0)

    def _inferred(self, listed: Sequence[str], stories: Sequence[Story]) -> Iterator[Story]:
        """Yield the sessions that are still listed, and are gone without a trace.

        A server that expires records leaves none; any other end would have.
        """
        if self._backend.expires_silently and self._backend.endings is not None:
            for key in {*listed} - {story.key for story in stories}:
                if self._backend.sessions.load(key) is None:
                    yield Story(key, "expired", (), why="expired-idle", is_inferred=True)

    def _story(self, key: str, trace: EndTrace | None) -> Story | None:
        record = self._backend.sessions.load(key)
        if record is not None:
            story = self._of_record(key, record)
            if story is not None:
                return story
        if trace is not None:
            steps = tuple(of_trace(trace))
            return Story(key, "ended", steps, trace.user, why=trace.why, trace=trace)
        return self._of_remains(key)

    def _of_record(self, key: str, record: Record) -> Story | None:
        try:
            envelope = open_sealed(record.payload, key)
        except (CorruptRecord, UnsupportedFormat):
            return Story(key, "damaged", ())
        if ENDED in envelope.metadata or UNANNOUNCED in envelope.metadata:
            return None
        try:
            beside = [*self._of_contexts(envelope), *self._of_versions(envelope)]
        except (CorruptRecord, UnsupportedFormat):
            beside = []
        steps = sorted([*of_envelope(envelope), *beside])
        return self._with_names(Story(key, "live", tuple(steps)), envelope, record.expires_at)

    def _of_remains(self, key: str) -> Story | None:
        """Return the story of a session that has expired, and is not swept yet."""
        expired = self._backend.expired
        record = None if expired is None else expired.remains(key)
        expiry = None if record is None else expiry_of(key, record, self._lifetimes)
        if expiry is None:
            return None
        end = StoryStep(expiry.at, "ended", f"ended: {expiry.why}, {REASONS[expiry.why]}")
        steps = (*of_envelope(expiry.envelope), end)
        return self._with_names(Story(key, "expired", steps, why=expiry.why), expiry.envelope, None)

    def _with_names(self, story: Story, envelope: Envelope, expires_at: float | None) -> Story:
        try:
            principal, chain = principal_of(envelope), envelope.get_metadata(CHAIN)
        except (CorruptRecord, UnsupportedFormat):
            return story._replace(expires_at=expires_at)
        user = self._pseudonyms[-1].of(principal) if self._pseudonyms else None
        first = None if chain is None else short_key(str(chain))
        return story._replace(user=user, chain=first, expires_at=expires_at)

    def _of_contexts(self, envelope: Envelope) -> Iterator[StoryStep]:
        contexts, principal = self._backend.contexts, principal_of(envelope)
        if contexts is None or principal is None:
            return
        for key in self._context_keys:
            found = contexts.get(principal, key)
            if found is not None:
                words = f"the user's last {key} was selected, in this session or another"
                yield StoryStep(found.accessed_at, "context-selected", words)

    def _of_versions(self, envelope: Envelope) -> Iterator[StoryStep]:
        """Yield the bump of each scope that made the session stale."""
        versions, stamps = self._backend.versions, envelope.get_metadata(STAMPS)
        if versions is None or not stamps:
            return
        for scope, built_from in stamps.items():
            for bump in versions.history(scope, 1):
                if bump.version > built_from:
                    words = (
                        f"{texts.named(scope)} went to version {bump.version}: the session's data "
                        f"is of version {built_from}, and is rebuilt at its next page"
                    )
                    yield StoryStep(bump.at, "bumped", words)
