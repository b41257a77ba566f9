"""The answers in place of the application's, where its session could not be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.errors import CorruptRecord, SessionConflict, StoreUnavailable, TooManyWaiting
from wsgi_sessions.middleware.response import Answer

if TYPE_CHECKING:
    from wsgi_sessions.config import BusyStatus
    from wsgi_sessions.errors import SessionError

REFUSALS = (StoreUnavailable, CorruptRecord, SessionConflict)
"""Errors that are answered by the middleware, if the application does not."""


_BUSY = {"503": "503 Service Unavailable", "429": "429 Too Many Requests"}


def answer_to(error: SessionError, busy: BusyStatus = "503") -> Answer:
    """What a client gets for one of `REFUSALS`: 409 for a conflict, else 503.

    `busy` is the status if too many requests wait for one session.
    """
    if isinstance(error, SessionConflict):
        return _answer(
            "409 Conflict", "Another request changed the same data. Reload and try again.\n"
        )
    if isinstance(error, TooManyWaiting):
        return _answer(
            _BUSY[busy],
            "Too many of your requests wait for one another. Try again in a moment.\n",
            ("Retry-After", "1"),
        )
    return _answer(
        "503 Service Unavailable",
        "Your session cannot be reached right now. Nothing is lost: try again in a moment.\n",
        ("Retry-After", "1"),
    )


def _answer(status: str, text: str, *more: tuple[str, str]) -> Answer:
    body = text.encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    return Answer(status, headers, body)
