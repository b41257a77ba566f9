"""The sessions in use."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import joined, paragraph, session_link, table

if TYPE_CHECKING:
    from markupsafe import Markup

    from wsgi_sessions.console.view import View

NOT_KEPT = "Not kept by this store."
_MOST = 500
_SHOWN = 10
_ROLES = {"holder": "a request", "claim": "a refresher"}
_HEADS = ("Session", "Used by", "At most for")


def leases(view: View) -> Markup:
    """Return the sessions that requests hold, or a refresher has claimed."""
    listing = view.backend.lease_listing
    if listing is None:
        return paragraph(NOT_KEPT, "quiet")
    found = sorted(set(islice(listing.leases(), _MOST)), key=lambda lease: -lease.seconds)
    if not found:
        why = "" if view.config.refresh.hook else " Requests take leases where sessions are "
        why += "" if view.config.refresh.hook else "refreshed in the background."
        return paragraph(f"No session is in use.{why}", "quiet")
    view.remember(lease.key for lease in found[:_SHOWN])
    number = len({lease.key for lease in found})
    more = "or more " if len(found) == _MOST else ""
    rows = [
        (session_link(lease.key), _ROLES[lease.role], f"{lease.seconds:.0f} s")
        for lease in found[:_SHOWN]
    ]
    return joined((paragraph(f"{number} {more}in use."), table(_HEADS, rows)))
