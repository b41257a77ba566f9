"""Policies: what concurrent changes of one value mean, so that none of them is lost. Pure.

A policy gets the value that the request found (`base`), the one that it left (`mine`), and the one
that is stored now (`theirs`), which others have changed since. It is asked only where all three
differ from the base, and returns the value that stands. An absent value is None.

- ``sum``: what each request added or took away counts: ``theirs + (mine - base)``. Ints, floats,
  Decimals and timedeltas. An absent value is 0, so a deletion takes away what the request saw.
- ``max``, ``min``: the larger or smaller of mine and theirs; a value is more than none.
- ``union``: what each added to a set, or to a list, is there, and what each removed is not.
- ``append``: what each appended to a list is there, theirs first; a deletion removes what the
  request saw.
- ``first``: theirs. ``last``: mine. Neither is reported.
- ``fail``: as without a policy, but a conflict refuses the commit (409).

`sum`, `max`, `min` and `union` commute and associate: the order of the commits does not matter (to
a sum of floats, up to rounding; to a union of lists, up to the order of its items). A policy that
does not fit the values raises `Unfit`.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Raw

from wsgi_sessions.core.record.codec import decode, encode
from wsgi_sessions.core.record.containers import Items, closed_list, kind_of, opened_list
from wsgi_sessions.errors import UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    MergeFunction = Callable[[Any, Any, Any], Any]
    Policy = Callable[[Raw | None, Raw | None, Raw | None], Raw | None]

MergePolicy = Literal["sum", "max", "min", "union", "append", "first", "last", "fail"]

_NUMBERS = ({int, float}, {int, Decimal}, {timedelta})
_ORDERED = (int, float, Decimal, bool, str, bytes, datetime, date, time, timedelta)
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow])
_NO_ITEMS = Raw(b"\x90")


class Unfit(Exception):
    """The policy does not fit these values. The message names types, never a value."""


def total(base: Any, mine: Any, theirs: Any) -> Any:
    """Return theirs with my difference."""
    kinds = {type(value) for value in (base, mine, theirs) if value is not None}
    if not any(kinds <= numbers for numbers in _NUMBERS):
        raise TypeError
    none: Any = timedelta() if timedelta in kinds else 0
    before, ours, others = (none if value is None else value for value in (base, mine, theirs))
    if float in kinds:  # rounded once, so that it does not matter which of the two came first
        rounded = math.fsum((others, ours, -before))
        if not math.isfinite(rounded):
            raise ArithmeticError
        return rounded
    with localcontext(_EXACT):
        result = others + ours - before
    if Decimal in kinds and not Decimal(result).is_finite():
        raise ArithmeticError
    return result


def _extreme(_base: Any, mine: Any, theirs: Any, *, is_least: bool) -> Any:
    given = [value for value in (mine, theirs) if value is not None]
    for value in given:
        if type(value) not in _ORDERED or value != value:  # NaN
            raise TypeError
    if len(given) < 2:
        return given[0] if given else None
    if mine == theirs:  # 1 and 1.0: the same one in either order
        return max(given, key=encode)
    return mine if (mine < theirs) is is_least else theirs


greatest = partial(_extreme, is_least=False)
least = partial(_extreme, is_least=True)


def union(base: Any, mine: Any, theirs: Any) -> Any:
    """Return theirs with what I added, without what I removed."""
    kinds = {type(value) for value in (base, mine, theirs) if value is not None}
    if len(kinds) > 1 or not kinds <= {set, frozenset, list}:
        raise TypeError
    is_deleted = mine is None or theirs is None
    kind: Any = kinds.pop() if kinds else set
    before, ours, others = (kind() if value is None else value for value in (base, mine, theirs))
    if kind is list:
        result: Any = _union_of_lists(before, ours, others)
    else:
        result = (others | (ours - before)) - (before - ours)
    return result if result or not is_deleted else None


def _union_of_lists(base: list[Any], mine: list[Any], theirs: list[Any]) -> list[Any]:
    before, ours, others = ({encode(item): item for item in each} for each in (base, mine, theirs))
    added = [item for data, item in ours.items() if data not in before and data not in others]
    return [item for data, item in others.items() if data not in before or data in ours] + added


def _appended(base: Raw | None, mine: Raw | None, theirs: Raw | None) -> Raw | None:
    if any(value is not None and kind_of(value) is not list for value in (base, mine, theirs)):
        raise Unfit("append fits lists only")
    before, ours, others = (opened_list(value or _NO_ITEMS) for value in (base, mine, theirs))
    if mine is None:
        if not others.data.startswith(before.data):
            return theirs
        rest = Items(others.number - before.number, others.data[len(before.data) :])
        return closed_list(rest) if rest.number else None
    if not ours.data.startswith(before.data):
        raise Unfit("append fits only where items were appended; others were removed or changed")
    number = others.number + ours.number - before.number
    return closed_list(Items(number, others.data + ours.data[len(before.data) :]))


def _first(_base: Raw | None, _mine: Raw | None, theirs: Raw | None) -> Raw | None:
    return theirs


def _last(_base: Raw | None, mine: Raw | None, _theirs: Raw | None) -> Raw | None:
    return mine


def _of_values(name: str, merge: MergeFunction) -> Policy:
    """Return the policy of a function of this module."""

    def policy(base: Raw | None, mine: Raw | None, theirs: Raw | None) -> Raw | None:
        values = [_decoded(value) for value in (base, mine, theirs)]
        try:
            result = merge(*values)
        except (TypeError, ArithmeticError, ValueError):
            kinds = ", ".join(sorted({type(value).__name__ for value in values}))
            raise Unfit(f"{name} does not fit these values ({kinds})") from None
        return None if result is None else Raw(encode(result))

    return policy


def policy_of(function: MergeFunction) -> Policy:
    """Return the policy of an application's function. Whatever goes wrong in it is `Unfit`."""
    name = getattr(function, "__qualname__", type(function).__qualname__)

    def policy(base: Raw | None, mine: Raw | None, theirs: Raw | None) -> Raw | None:
        try:
            result = function(_decoded(base), _decoded(mine), _decoded(theirs))
            return None if result is None else Raw(encode(result))
        except UnserializableValue as error:
            raise Unfit(f"{name} returned what a session cannot hold") from error
        except Exception as error:  # the application's: a commit never fails by it
            # Not its message, which may hold values.
            raise Unfit(f"{name} raised {type(error).__name__}") from error

    return policy


def _decoded(value: Raw | None) -> Any:
    return None if value is None else decode(value)


POLICIES: Mapping[str, Policy | None] = MappingProxyType(
    {
        "sum": _of_values("sum", total),
        "max": _of_values("max", greatest),
        "min": _of_values("min", least),
        "union": _of_values("union", union),
        "append": _appended,
        "first": _first,
        "last": _last,
        "fail": None,
    }
)
"""The policies by name. None: merged as without a policy, and refused where that conflicts."""
