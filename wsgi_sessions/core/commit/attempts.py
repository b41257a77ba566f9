"""Attempts: the limit for a save that keeps finding another version, and the pauses between."""

from __future__ import annotations

import random
import time

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key

MAX_ATTEMPTS = 200


def contended(key: str) -> StoreUnavailable:
    """Return the error that ends the attempts."""
    return StoreUnavailable(
        f"a session is changed by too many requests at once ({MAX_ATTEMPTS} attempts): retry",
        operation="save",
        key=short_key(key),
        attempts=MAX_ATTEMPTS,
    )


def yield_to_others(attempt: int) -> None:
    """Wait a little, at random, after several lost races, so that every request gets through.

    After a wait the known record is old, and an attempt with it loses to any request that changes
    the session all the time. So only every second attempt waits: it learns what is stored now, and
    the next one follows at once, in less time than a whole request takes.
    """
    if attempt >= 5 and attempt % 2:
        time.sleep(random.uniform(0, min(attempt * attempt, 300) * 0.0001))  # noqa: S311 - no secret
