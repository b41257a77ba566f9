"""Pickles, for one offline command. Anyone who can write a pickle can run code where it is read.

Nothing that serves requests imports this module.
"""

from __future__ import annotations

import pickle

from wsgi_sessions.errors import ImportRefused


def unpickle(payload: bytes) -> object:
    """Return the object in a pickle. RUNS CODE IN THE PICKLE. Raises ImportRefused.

    Classes of the application are imported if possible.
    """
    try:
        return pickle.loads(payload)  # noqa: S301  # asked for, by an option that says so
    except Exception as error:  # noqa: BLE001  # a pickle can raise anything
        raise ImportRefused(f"its pickle does not load ({type(error).__name__})") from None
