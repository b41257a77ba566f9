"""The sessions in use."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from wsgi_sessions.console.markup import joined, linked, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from wsgi_sessions.console.numbers.leases import UseNumbers

NOT_KEPT = "Not kept by this store."
ROLES: Mapping[str, str] = MappingProxyType({"holder": "a request", "claim": "a refresher"})
_HEADS = ("Session", "Used by", "At most for")
_WHEN = " Requests take leases where sessions are refreshed in the background."


def leases(numbers: UseNumbers | None) -> Markup:
    """Return the sessions that requests hold, or a refresher has claimed."""
    if numbers is None:
        return paragraph(NOT_KEPT, "quiet")
    if not numbers.leases:
        return paragraph(f"No session is in use.{'' if numbers.refreshes else _WHEN}", "quiet")
    rows = [
        (linked(each.key), ROLES[each.role], f"{each.seconds:.0f} s") for each in numbers.leases
    ]
    return joined((paragraph(in_use(numbers)), table(_HEADS, rows)))


def in_use(numbers: UseNumbers) -> str:
    """Return how many sessions are in use, in words."""
    return f"{numbers.sessions} {'' if numbers.is_all else 'or more '}in use."
