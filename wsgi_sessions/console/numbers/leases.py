"""The sessions in use."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from wsgi_sessions.console.view import View

_MOST = 500
_SHOWN = 10


@texts.shows("key", "role")
class LeaseNumbers(Struct, frozen=True):
    """One lease: the short key of its session, who has it, and for how many seconds at most."""

    key: str
    role: Literal["holder", "claim"]
    seconds: float


@texts.shows("sessions", "is_all")
class UseNumbers(Struct, frozen=True):
    """The number of sessions in use, or at least so many unless `is_all`; the longest leases."""

    sessions: int
    is_all: bool
    refreshes: bool
    leases: list[LeaseNumbers]


def use_numbers(view: View) -> UseNumbers | None:
    """Return what requests hold and a refresher has claimed; None if the store keeps no leases.

    Raises StoreUnavailable.
    """
    listing = view.backend.lease_listing
    if listing is None:
        return None
    found = sorted(set(islice(listing.leases(), _MOST)), key=lambda lease: -lease.seconds)
    view.remember(lease.key for lease in found[:_SHOWN])
    return UseNumbers(
        len({lease.key for lease in found}),
        len(found) < _MOST,
        bool(view.config.refresh.hook),
        [LeaseNumbers(short_key(each.key), each.role, each.seconds) for each in found[:_SHOWN]],
    )
