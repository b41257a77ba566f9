"""Stories: what is known of one session's life, in words. Pure.

A story is made of what the record holds, if there still is one, and of the trace of its end. Both
are written with what is written anyway, so they tell less than the log: see `Teller.gaps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.endings.steps import steps_of
from wsgi_sessions.endings import REASONS, EndTrace, Step, StepName
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.endings import EndReason

AROUND_SECONDS = 600.0
State = Literal["live", "expired", "damaged", "ended"]


@texts.shows("at", "what")
class StoryStep(NamedTuple):
    """One line of a story: the time (seconds since the epoch), what, and that in words."""

    at: float
    what: StepName | Literal["ended", "context-selected", "bumped"]
    words: str


@texts.shows("state")
class Story(NamedTuple):
    """One session, as far as it is known: its steps in order of time.

    `chain`: the short key of its first id, if it had others. `user`: its user's pseudonym.
    `expires_at` is None for one that has ended. `is_inferred`: the reason is a conclusion, for the
    server deleted the record by itself.
    """

    key: str
    state: State
    steps: tuple[StoryStep, ...]
    user: str | None = None
    chain: str | None = None
    expires_at: float | None = None
    why: EndReason | None = None
    is_inferred: bool = False
    trace: EndTrace | None = None

    def is_near(self, at: float, seconds: float = AROUND_SECONDS) -> bool:
        """Return whether it was there at a time, or something is known of it around that."""
        if not self.steps or any(abs(step.at - at) <= seconds for step in self.steps):
            return True
        first, last = self.steps[0].at, self.steps[-1].at
        return first <= at and (self.state == "live" or at <= last)


_WORDS: Mapping[StepName, str] = {
    "began": "began, or its user logged in",
    "stored": "stored changes of {about}",
    "conflict": "a change of key {about} met another request's, and stands, by {route}",
    "refreshed": "refreshed in the background",
    "refresh-failed": "the background refresh failed, {about} times in a row",
    "rebuilt": "its data was stale, and was rebuilt",
    "context-restored": "the user's last {about} was put back",
}


def of_envelope(envelope: Envelope) -> list[StoryStep]:
    """Return what a record tells of its past."""
    commits = tuple((commit.at, commit.route) for commit in envelope.commits)
    return _in_words(envelope.created_at, commits, steps_of(envelope))


def of_trace(trace: EndTrace) -> Iterator[StoryStep]:
    """Yield what the trace of an end tells, the end last."""
    yield from _in_words(trace.begun_at, trace.commits, trace.steps)
    yield StoryStep(trace.at, "ended", _end_in_words(trace))


def _in_words(
    begun_at: float | None, commits: Sequence[tuple[float, str]], steps: Sequence[Step]
) -> list[StoryStep]:
    began = () if begun_at is None else (Step(begun_at, "began"),)
    stored = (Step(at, "stored", route) for at, route in commits)
    found = sorted((*began, *stored, *steps), key=lambda step: step.at)
    return [StoryStep(step.at, step.what, _text_of(step)) for step in found]


def _text_of(step: Step) -> str:
    about, route = (texts.shown(text or "?", texts.LINE) for text in (step.about, step.route))
    return _WORDS[step.what].format(about=about, route=route)


def _end_in_words(trace: EndTrace) -> str:
    pieces = [f"ended: {trace.why}, {REASONS[trace.why]} (by {texts.shown(trace.by)}"]
    if trace.route is not None:
        pieces.append(f", on {texts.shown(trace.route)}")
    pieces.append(")")
    if trace.detail is not None:
        pieces.append(f", because {texts.shown(trace.detail)}")
    if trace.successor is not None:
        pieces.append(f"; it goes on as session {short_key(trace.successor)}")
    if trace.process is not None:
        pieces.append(f"; by the clock of {texts.shown(trace.process)}")
    return "".join(pieces)
