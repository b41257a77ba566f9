"""Answers in place of the application's, where its session could not be kept."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.errors import (
    CorruptRecord,
    SessionConflict,
    StoreUnavailable,
    TooManySessions,
    TooManyWaiting,
)
from wsgi_sessions.http.response import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from wsgi_sessions.errors import SessionError
    from wsgi_sessions.stack.declared.requests import BusyStatus

    OnUnavailable = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes] | None]

REFUSALS = (StoreUnavailable, CorruptRecord, SessionConflict)
"""Errors that the middleware answers, if the application does not."""
ERROR_KEY = "wsgi_sessions.error"
"""The environ key of the error, for an application's own page about it."""

_BUSY = {"503": "503 Service Unavailable", "429": "429 Too Many Requests"}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_log = texts.log(__name__)


@texts.shows("status", "name")
class Refusal(NamedTuple):
    """The refusal that a client gets: a status line, a word for scripts, a sentence, headers."""

    status: str
    name: str
    text: str
    headers: tuple[tuple[str, str], ...] = (("Retry-After", "1"),)

    @property
    def code(self) -> int:
        """The number of the status."""
        return int(self.status[:3])


def refusal_of(error: SessionError, method: str = "GET", busy: BusyStatus = "503") -> Refusal:
    """Return the refusal for one of `REFUSALS`: 409 for a conflict, else 503.

    `busy` is the status if too many requests wait for one session.
    """
    if isinstance(error, SessionConflict):
        text = (
            "Another request changed the same data. Nothing of this one was stored, except for "
            "steps that it had completed before. Reload and try again."
        )
        return Refusal("409 Conflict", "session_conflict", text, ())
    if isinstance(error, TooManyWaiting):
        text = "Too many of your requests wait for one another. Try again in a moment."
        return Refusal(_BUSY[busy], "session_busy", text)
    status, text = "503 Service Unavailable", "Your session cannot be reached right now."
    if isinstance(error, TooManySessions):
        text = "There are too many visitors right now."
    if _may_have_happened(error):
        advice = "It is unknown whether what you sent was saved: check before you send it again."
        return Refusal(status, "session_unavailable", f"{text} {advice}")
    if method in _SAFE:
        return Refusal(status, "session_unavailable", f"{text} Try again in a moment.")
    # The progress of the application is not known here.
    advice = "What you sent may not have been saved: check before you send it again."
    return Refusal(status, "session_unavailable", f"{text} {advice}")


def _may_have_happened(error: SessionError) -> bool:
    """Return whether the write may count. A doubtful create does not: no client has its id."""
    writes = ("save", "delete")
    return isinstance(error, StoreUnavailable) and error.in_doubt and error.operation in writes


def answer_to(
    error: SessionError,
    environ: WSGIEnvironment,
    busy: BusyStatus = "503",
    page: OnUnavailable | None = None,
) -> Answer:
    """Return the answer to one of `REFUSALS`: that of `page`, or else `refusal_of`.

    The latter is JSON where `Accept` asks for that, and else text. `page` is a WSGI application, or
    returns None where it has no answer. Its environ has the error under `ERROR_KEY`, and no body.
    An exception in it is logged.
    """
    own = None if page is None else _answer_of(page, environ, error)
    if own is not None:
        return own
    refusal = refusal_of(error, environ.get("REQUEST_METHOD", "GET"), busy)
    content: str | dict[str, Any] = refusal.text
    if asks_for_json(environ.get("HTTP_ACCEPT", "")):
        content = {"error": refusal.name, "message": refusal.text}
    return plain_answer(refusal.status, content, *refusal.headers)


def plain_answer(status: str, content: str | Mapping[str, Any], *more: tuple[str, str]) -> Answer:
    """Return a small answer that no cache keeps: a line of text, or JSON; `more` are headers."""
    if isinstance(content, str):
        kind, text = "text/plain; charset=utf-8", content
    else:
        kind, text = "application/json", json.dumps(content)
    body = f"{text}\n".encode()
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ]
    return Answer(status, headers, body)


def send(answer: Answer, method: str, start_response: StartResponse) -> Iterable[bytes]:
    """Send an answer in place of the application's response; without its body for HEAD."""
    start_response(answer.status, answer.headers)
    return [b"" if method == "HEAD" else answer.body or b""]


def asks_for_json(accept: str) -> bool:
    """Return whether an Accept header names JSON, and prefers it to any kind of text."""
    json_weight = text_weight = 0.0
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = min([1.0, *map(_weight, parameters)])
        if media == "application/json" or media.endswith("+json"):
            json_weight = max(json_weight, weight)
        elif media.startswith("text/") or media == "application/xhtml+xml":
            text_weight = max(text_weight, weight)
    return json_weight > text_weight


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _answer_of(page: OnUnavailable, environ: WSGIEnvironment, error: SessionError) -> Answer | None:
    started: list[Any] = []
    chunks: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:  # noqa: ARG001
        started[:] = [status, list(headers)]
        return chunks.append

    # The application has read the body, or may have.
    empty = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0", ERROR_KEY: error}
    body: Any = None
    try:
        body = page({**environ, **empty}, start_response)
        if body is None:
            return None
        chunks.extend(body)
        status, headers = started
    except Exception:  # noqa: BLE001  # the client is to have an answer all the same
        _log.exception("the application's page for an outage failed")
        return None
    finally:
        if hasattr(body, "close"):
            body.close()
    return Answer(status, headers, b"".join(chunks))
