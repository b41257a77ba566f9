"""Steps: what a session's record tells of its past. Pure.

All of it is written with what is written anyway: no request pays for it. So a record holds the
latest of each kind, its commits of some seconds, and nothing of requests that only read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_sessions.core.draft import FAILURES, REFRESHED
from wsgi_sessions.core.record.history import CONFLICTED, REBUILT, RESTORED
from wsgi_sessions.endings import Step
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wsgi_sessions.core.record.envelope import Envelope
    from wsgi_sessions.endings import StepName

    StepOf = Callable[[Any], Step]


def steps_of(envelope: Envelope) -> tuple[Step, ...]:
    """Return what a record tells beside its commits and its beginning, in order of time.

    What does not decode is left out.
    """
    return tuple(sorted(_found(envelope), key=lambda step: step.at))


def _found(envelope: Envelope) -> Iterator[Step]:
    for name, step_of in _READINGS.items():
        if name in envelope.metadata:
            try:
                yield step_of(envelope.get_metadata(name))
            except (CorruptRecord, UnsupportedFormat, TypeError, ValueError, LookupError):
                continue


def _at(what: StepName) -> StepOf:
    return lambda at: Step(float(at), what)


_READINGS: Mapping[str, StepOf] = {
    CONFLICTED: lambda note: Step(float(note[0]), "conflict", str(note[1]), str(note[2])),
    REFRESHED: _at("refreshed"),
    FAILURES: lambda note: Step(float(note[1]), "refresh-failed", str(note[0])),
    REBUILT: _at("rebuilt"),
    RESTORED: lambda note: Step(float(note[0]), "context-restored", str(note[1])),
}
