"""What a session asks of its transaction, and a transaction of its request."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from wsgi_sessions.core.draft import Draft
    from wsgi_sessions.errors import CorruptRecord

Access = Literal["shared", "exclusive"]


class Phase(Enum):
    """How far the response is."""

    OPEN = "open"
    HEADERS_SENT = "headers sent"
    ENDED = "ended"


class Source(Protocol):
    """What a session stands on: the transaction of one request."""

    phase: Phase
    is_accessed: bool

    def draft(self) -> Draft:
        """The draft, read from the store at the first call. Raises StoreUnavailable."""

    def damaged(self, error: CorruptRecord) -> None:
        """Be told that a value does not decode."""

    def drop_planted(self, keep: Iterable[str]) -> None:
        """See `IdentityRules.drop_planted`."""

    def exclusive(self, timeout: float | None) -> AbstractContextManager[None]:
        """See `Session.exclusive`."""

    def store(self) -> None:
        """See `Session.commit`."""


class Request(Protocol):
    """What a transaction needs to know of the request that it is for, asked when it is needed."""

    def session_id(self) -> str | None:
        """The (verified) id that the request presents; asked at the first access, once.

        Raises SessionSuperseded for one that opens its session no more.
        """

    def route(self) -> str:
        """What names the request in reports, such as ``POST /cart``."""

    def access(self) -> Access:
        """Whether the session is shared with overlapping requests; asked at the first access."""
