"""Merge policies, from their setting and from the hook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_sessions.core.merge.rules import MergeRules
from wsgi_sessions.stack.hooks import load_hook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsgi_sessions.core.merge.policies import MergeFunction
    from wsgi_sessions.stack.config import Config


def merge_rules(config: Config, given: Mapping[str, str | MergeFunction]) -> MergeRules | None:
    """Return the rules that are passed and named; the passed ones come first.

    Raises ConfigurationError.
    """
    policies = dict(given)
    for pattern, policy in config.merge:
        if pattern not in policies:
            policies[pattern] = (
                load_hook(policy, "WSGI_SESSIONS_MERGE") if ":" in policy else policy
            )
    return MergeRules(policies) if policies else None
