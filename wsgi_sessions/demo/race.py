"""The race: many requests at once, all of which add to one session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from werkzeug.exceptions import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_sessions import Session
    from wsgi_sessions.demo.naive import NaiveSession

STEPS = 20
STEP_SECONDS = 0.08


class RaceResult(NamedTuple):
    """The results of a race in a session: the worker of each complete step, and each count."""

    kept: dict[int, int]
    keys: int
    items: int
    counter: int


def prepare(session: Session | NaiveSession) -> None:
    """Clear the results of an earlier race."""
    session["race_keys"] = {}
    session["race_list"] = []
    session["race_count"] = 0
    session.pop("race_done", None)


def step(session: Session | NaiveSession, number: int, worker: int) -> None:
    """Take one step on either session, by the worker of this number: read, wait, then change.

    Raises Conflict (409) if no race was prepared.
    """
    _require_start(session)
    keys = session["race_keys"]
    time.sleep(STEP_SECONDS)
    keys[str(number)] = worker
    session.append("race_list", number)
    session.increment("race_count")


def finish(session: Session) -> None:
    """Note that all steps have been answered. Raises Conflict (409) if no race was prepared."""
    _require_start(session)
    session["race_done"] = True


def _require_start(session: Mapping[str, Any]) -> None:
    if "race_keys" not in session:
        raise Conflict("No race was started in this session.")


def result(session: Mapping[str, Any]) -> RaceResult:
    """Count the results in the session."""
    keys, items = session.get("race_keys", {}), session.get("race_list", [])
    kept = {number: keys[str(number)] for number in items if str(number) in keys}
    return RaceResult(kept, len(keys), len(items), session.get("race_count", 0))
