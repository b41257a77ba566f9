"""PlaceRules: which policy each place of a session has, by patterns of paths. Pure.

A pattern names a place by its path: ``visits`` is a key, ``cart.total`` the place ``total`` of the
dictionary under ``cart``; ``*`` stands for anything in one step, ``?`` for one character (of a key
with a dot in it, too). The first pattern that matches counts.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, NamedTuple

from wsgi_sessions import texts
from wsgi_sessions.core.merge.policies import POLICIES, policy_of
from wsgi_sessions.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsgi_sessions.core.merge.policies import MergeFunction, Policy

PATTERN = re.compile(r"[^\s:,.]+(?:\.[^\s:,.]+)*")


class _Rest(NamedTuple):
    """The remaining steps of a pattern below a place, and its policy."""

    steps: tuple[str, ...]
    policy: Policy | None


@texts.shows()
class PlaceRules(NamedTuple):
    """The rules for a place and for what is below it. `policy`, if `has_policy`, is for itself.

    A policy of None is ``fail``.
    """

    has_policy: bool
    policy: Policy | None
    below: tuple[_Rest, ...]

    @property
    def decides(self) -> bool:
        """Whether the rules say more than whether a conflict refuses the commit."""
        return self.policy is not None or bool(self.below)

    @property
    def refuses(self) -> bool:
        """Whether a conflict here refuses the commit."""
        return self.has_policy and self.policy is None

    @property
    def may_refuse(self) -> bool:
        """Whether a conflict here, or below, may refuse the commit."""
        return self.refuses or any(rest.policy is None for rest in self.below)

    def inside(self, step: object) -> PlaceRules | None:
        """Return the rules for a place inside of this one, or None."""
        return _after(self.below, step) if isinstance(step, str) else None


class MergeRules:
    """The policies of a session's places: by name, or a function of the application::

        MergeRules({"visits": "sum", "log.*": "append", "basket": merge_baskets})

    The function gets base, mine and theirs (see `wsgi_sessions.core.merge.policies`), and returns
    the value that stands. It may be called several times for one commit, so it must not have
    effects. Raises ConfigurationError.
    """

    __slots__ = ("_rests",)

    def __init__(self, policies: Mapping[str, str | MergeFunction]) -> None:
        self._rests = tuple(_rest(*item) for item in policies.items())

    def at(self, key: str) -> PlaceRules | None:
        """Return the rules for a key of the session, or None."""
        return _after(self._rests, key)


def _after(rests: Sequence[_Rest], step: str) -> PlaceRules | None:
    """Return the rules after one step. A step that has dots in it may match several of a pattern's.

    So both ``log.*`` and ``log.errors`` match the key ``log.errors`` too.
    """
    found = [
        _Rest(rest.steps[number:], rest.policy)
        for rest in rests
        for number in range(1, min(len(rest.steps), step.count(".") + 1) + 1)
        if fnmatch.fnmatchcase(step, ".".join(rest.steps[:number]))
    ]
    if not found:
        return None
    here = next((rest for rest in found if not rest.steps), None)
    below = tuple(rest for rest in found if rest.steps)
    return PlaceRules(here is not None, None if here is None else here.policy, below)


def _rest(pattern: str, policy: str | MergeFunction) -> _Rest:
    if not PATTERN.fullmatch(pattern):
        raise ConfigurationError(
            f"`merge`: {texts.quoted(pattern)} is not a path such as visits or cart.*.count"
        )
    if callable(policy):
        return _Rest(tuple(pattern.split(".")), policy_of(policy))
    if policy not in POLICIES:
        raise ConfigurationError(
            f"`merge`: {texts.quoted(pattern)}: must be a function, or one of {', '.join(POLICIES)}"
        )
    return _Rest(tuple(pattern.split(".")), POLICIES[policy])
