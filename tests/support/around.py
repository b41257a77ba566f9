"""Something that happens in front of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def around(target: Any, method: str, before: Callable[[], object]) -> None:
    """Do something in front of the next call of a method."""
    original = getattr(target, method)

    def called(*args: Any, **more: Any) -> Any:
        setattr(target, method, original)
        before()
        return original(*args, **more)

    setattr(target, method, called)
