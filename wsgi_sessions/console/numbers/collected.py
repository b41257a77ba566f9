"""All numbers at one moment. A part that cannot be told says why, and the others are there."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from wsgi_sessions import texts
from wsgi_sessions.console.numbers.conflicts import conflict_numbers
from wsgi_sessions.console.numbers.ends import end_numbers
from wsgi_sessions.console.numbers.heavy import heavy_numbers
from wsgi_sessions.console.numbers.leases import use_numbers
from wsgi_sessions.console.numbers.live import live_numbers
from wsgi_sessions.console.numbers.store import StoreNumbers, store_numbers
from wsgi_sessions.console.numbers.versions import version_numbers
from wsgi_sessions.errors import SessionError
from wsgi_sessions.stack.config import with_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsgi_sessions.console.view import View

_log = texts.log(__name__)
STORE = "store"
TITLES: Mapping[str, str] = MappingProxyType(
    {
        STORE: "Store",
        "live": "Live sessions",
        "ends": "Ends by reason",
        "conflicts": "Conflicts",
        "heavy": "Largest and most written",
        "leases": "In use",
        "versions": "Version stamps",
    }
)
"""The title of each part, in the order in which they are shown."""
_PARTS: Mapping[str, Callable[[View], Any]] = MappingProxyType(
    {
        "live": live_numbers,
        "ends": end_numbers,
        "conflicts": conflict_numbers,
        "heavy": heavy_numbers,
        "leases": use_numbers,
        "versions": version_numbers,
    }
)


@texts.shows("error")
class Untold(Struct, frozen=True):
    """In place of a part that cannot be told: why. `is_fault`: it was tried, and failed."""

    error: str
    is_fault: bool = True


def collect(view: View) -> dict[str, Any]:
    """Return the numbers of each part, or an `Untold`, in the order of `TITLES`.

    A store that does not answer is asked for its health alone. Never raises.
    """
    store = _tried(STORE, store_numbers, view)
    is_up = isinstance(store, StoreNumbers) and store.healthy
    silent = Untold("Not asked: the store does not answer.", is_fault=False)
    parts = {name: _tried(name, make, view) if is_up else silent for name, make in _PARTS.items()}
    return {STORE: store, **parts}


def _tried(name: str, make: Callable[[View], Any], view: View) -> Any:
    try:
        return make(view)
    except SessionError as error:
        return Untold(f"Could not be read: {with_variables(str(error))}")
    except Exception as error:  # noqa: BLE001  # the others are to be shown, whatever a driver raises
        _log.exception("the part %s of the console failed", name)
        kind = type(error).__name__
        return Untold(f"Could not be made: {kind}; the console's own output has more.")
