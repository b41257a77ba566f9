"""Hooks named in the environment: from ``package.module:function`` to the callable."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import Any

from wsgi_sessions.errors import ConfigurationError


def load_hook(path: str, variable: str) -> Any:
    """The callable that a dotted path leads to; `variable` is where the path was given.

    Imports the module. Raises ConfigurationError if it cannot be found or is nothing to call. What
    else the module raises while it is imported is the application's own, and goes on as it is.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise _refusal(path, variable, f"there is no module {error.name}") from error
        raise  # something that the module itself imports
    try:
        hook = attrgetter(attribute)(module)
    except AttributeError as error:
        raise _refusal(path, variable, f"{module_name} has no {attribute}") from error
    if not callable(hook):
        raise _refusal(path, variable, "that is nothing to call")
    return hook


def _refusal(path: str, variable: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable}={path}: {why}; it must be a function, as package.module:function"
    )
