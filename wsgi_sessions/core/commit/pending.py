"""The changes of one request on their way into the store. Pure, except for a random token."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from wsgi_sessions.core.draft import APPLICATION
from wsgi_sessions.core.merge.delta import Assign, apply, merge
from wsgi_sessions.core.merge.stamps import reassigned, stamped
from wsgi_sessions.core.record.codec import encode
from wsgi_sessions.core.record.envelope import Envelope
from wsgi_sessions.core.record.history import (
    NO_COMMITS,
    Commit,
    number_in,
    with_commit,
    with_repeat,
)
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.draft import Snapshot
    from wsgi_sessions.core.merge.conflict import Conflict
    from wsgi_sessions.core.merge.delta import Delta
    from wsgi_sessions.core.merge.rules import MergeRules
    from wsgi_sessions.errors import VersionConflict
    from wsgi_sessions.mutex import Fence


_random = partial(os.urandom, 8)


class Pending:
    """The changes of one request on their way into the store: a delta, its base, and one token.

    They are stored only while the mutex of the `fence`, if there is one, is held. The token is
    random, or that of a request that the client may repeat (`may_repeat`; see `repeats`). The
    `planted` keys are dropped from the stored session, unless the changes assign them.
    """

    __slots__ = ("commit", "data", "fence", "may_repeat", "metadata", "planted")

    def __init__(
        self,
        data: Delta,
        metadata: Delta,
        at: float,
        route: str,
        fence: Fence | None = None,
        token: bytes | None = None,
        planted: frozenset[str] = frozenset(),
        draw: Callable[[], bytes] = _random,
    ) -> None:
        self.data = data
        self.metadata = metadata
        self.fence = fence
        self.planted = planted
        self.may_repeat = token is not None
        self.commit = Commit(at, token or draw(), route)

    def __bool__(self) -> bool:
        return bool(self.data or self.metadata)

    def begin_for(self, application: str | None) -> None:
        """Make a new record name the application that it belongs to."""
        if application is not None:
            self.metadata = {**self.metadata, APPLICATION: Assign(encode(application))}

    def onto(
        self, base: Envelope, theirs: Envelope, rules: MergeRules | None = None
    ) -> tuple[Envelope, list[Conflict]]:
        """Return `theirs` with the changes that were made on `base`, and the conflicts."""
        if theirs is base:
            merged = apply(self.data, base.data)
        else:
            merged = merge(base.data, self.data, theirs.data, reassigned(base, theirs), rules)
        metadata = theirs.metadata
        if self.metadata:
            metadata = merge(base.metadata, self.metadata, theirs.metadata).data
        data, commit = merged.data, self.commit
        if self.planted:
            for key in self.planted & data.keys() - self.data.keys():
                del data[key]
        stamps = stamped(theirs.stamps, self.data, merged, commit.token)
        history, repeats = theirs.history, theirs.repeats
        if self.may_repeat:
            repeats = with_repeat(repeats, commit)
        else:
            history = with_commit(history, commit)
        envelope = Envelope(theirs.created_at, history, metadata, data, stamps, repeats)
        return envelope, merged.conflicts

    def alone(self) -> Envelope:
        """Return a new session of nothing but the changes."""
        empty = Envelope(self.commit.at, NO_COMMITS, {}, {})
        return self.onto(empty, empty)[0]

    def is_in(self, envelope: Envelope) -> bool:
        """Return whether these changes have been stored already."""
        return any(commit.token == self.commit.token for commit in envelope.commits)

    def kept_beside(self, envelope: Envelope) -> int:
        """Return the number of tokens of this kind that are kept."""
        return len(envelope.repeats) if self.may_repeat else number_in(envelope.history)


def require_certainty(
    conflict: VersionConflict, met: Snapshot, theirs: Snapshot, pending: Pending
) -> None:
    """Raise StoreUnavailable if nothing tells whether a save with a lost reply was done.

    After a lost reply, our token is in the record if the save was done, unless so many others have
    saved since that it is no longer kept. Then an error is better than applying the changes twice.
    `met` is the record that the save was tried on, `theirs` the one that is there now.
    """
    others = conflict.current.version - met.version
    if theirs.key != met.key:
        others += theirs.version
    if (
        conflict.is_after_retry
        and not pending.is_in(theirs.envelope)
        and others > pending.kept_beside(theirs.envelope)
    ):
        error = StoreUnavailable(
            "a reply of the store was lost: whether the change was stored is unknown",
            operation="save",
            key=short_key(met.key),
        )
        error.in_doubt = True
        raise error
