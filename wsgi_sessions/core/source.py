"""The interfaces from a session to its transaction, and from a transaction to its request."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol

from wsgi_sessions.errors import HeadersAlreadySent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.draft import Draft
    from wsgi_sessions.endings import EndReason, RefusalReason
    from wsgi_sessions.errors import CorruptRecord

Access = Literal["shared", "exclusive"]


class Phase(Enum):
    """The progress of the response."""

    OPEN = "open"
    HEADERS_SENT = "headers sent"
    ENDED = "ended"


class Source(Protocol):
    """The transaction of one request, as its session sees it."""

    phase: Phase
    is_accessed: bool

    def draft(self) -> Draft:
        """Return the draft, read from the store at the first call. Raises StoreUnavailable."""

    def damaged(self, error: CorruptRecord) -> None:
        """Called when a stored value fails to decode."""

    def drop_planted(self, keep: Iterable[str]) -> None:
        """See `IdentityRules.drop_planted`."""

    def exclusive(self, timeout: float | None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""

    def store(self) -> None:
        """See `Session.commit`."""

    def why_lost(self) -> EndReason | RefusalReason | None:
        """See `Session.lost`."""


def require_cookie(source: Source, what: str) -> None:
    """Raise HeadersAlreadySent if no cookie can be sent any more, which `what` needs."""
    if source.phase is not Phase.OPEN:
        raise HeadersAlreadySent(
            f"{what} needs a cookie, but the response's headers have left: "
            "do it before the first body chunk"
        )


class Request(Protocol):
    """The facts about its request that a transaction asks for when it needs them."""

    def session_id(self) -> str | None:
        """The verified id that the request presents; asked once, at the first access.

        Raises SessionSuperseded for an id that no longer opens its session.
        """

    def route(self) -> str:
        """The name of the request in reports, such as ``POST /cart``."""

    def access(self) -> Access:
        """Return how the session is shared with overlapping requests; asked at the first access."""
