"""Attempts: how often a save is tried that meets another version each time, and what comes then."""

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
    """After several lost races wait a little, at random, so that everybody gets through.

    What is known of the record is old after a wait, and an attempt with it is lost to anybody who
    changes the session all the time. So only every second one waits: it finds out what is stored
    now, and the next follows at once, in less time than a whole request takes.
    """
    if attempt >= 5 and attempt % 2:
        time.sleep(random.uniform(0, min(attempt * attempt, 300) * 0.0001))  # noqa: S311 - no secret
