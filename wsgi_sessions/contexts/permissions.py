"""Permissions on contexts: the answers of a permission hook, and two ready-made ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Principal = str | int
Verdict = Literal["allowed", "denied", "gone"]
Environ = Mapping[str, Any]
MayAccess = Callable[[Principal, Any, Environ], Verdict | bool]
"""``may_access(principal, value, environ)``: ``"gone"`` means that it no longer exists."""

_VERDICTS = get_args(Verdict)


def as_verdict(answer: object) -> Verdict:
    """Return the answer of a permission hook; true and false mean allowed and denied.

    Raises ValueError for anything else: a hook that forgot to answer has not said "allowed".
    """
    if isinstance(answer, bool):
        return "allowed" if answer else "denied"
    for verdict in _VERDICTS:
        if answer == verdict:
            return verdict  # type: ignore[no-any-return]  # get_args gives no types
    raise ValueError(
        f"a permission hook answered with a {type(answer).__qualname__}: it must be "
        f"one of {', '.join(_VERDICTS)}, or a bool"
    )


@dataclass(frozen=True)
class OwnerPermission:
    """Allows access to the owner alone.

    ``owner_of(value, environ)`` returns the principal who owns what the value refers to, or None if
    it no longer exists. Principals are compared as text, so that 5 is ``"5"``.
    """

    owner_of: Callable[[Any, Environ], Principal | None]

    def __call__(self, principal: Principal, value: Any, environ: Environ) -> Verdict:
        """See `MayAccess`."""
        owner = self.owner_of(value, environ)
        if owner is None:
            return "gone"
        return "allowed" if str(owner) == str(principal) else "denied"


@dataclass(frozen=True)
class TenantPermission:
    """Allows what `may_access` allows, and only within the principal's tenant.

    ``in_tenant(principal, value, environ)`` answers as `MayAccess` does. It is asked second, and
    only about what the first one allows: a denied value costs no further look-up.
    """

    may_access: MayAccess
    in_tenant: MayAccess

    def __call__(self, principal: Principal, value: Any, environ: Environ) -> Verdict:
        """See `MayAccess`."""
        verdict = as_verdict(self.may_access(principal, value, environ))
        if verdict != "allowed":
            return verdict
        return as_verdict(self.in_tenant(principal, value, environ))
