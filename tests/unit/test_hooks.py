"""Hooks that the environment names."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

import pytest

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stack.hooks import load_hook

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "WSGI_SESSIONS_SOME_HOOK"


def test_a_function_and_a_method_are_found() -> None:
    assert load_hook("os.path:join", VARIABLE) is os.path.join
    assert load_hook("builtins:dict.fromkeys", VARIABLE)("a") == {"a": None}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no_such_module_here:x", "there is no module no_such_module_here"),
        ("os.no_such_module:x", "there is no module os.no_such_module"),
        ("os.path:no_such_name", "os.path has no no_such_name"),
        ("os.path:join.nothing", "os.path has no join.nothing"),
        ("os.path:sep", "it is not callable"),
    ],
)
def test_faults_are_reported_with_the_variable(path: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_hook(path, VARIABLE)
    assert str(caught.value).startswith(f"{VARIABLE}={path}: {why}")


@pytest.mark.parametrize(
    ("source", "error"),
    [("1 / 0", ZeroDivisionError), ("import no_such_module_here", ModuleNotFoundError)],
)
def test_a_module_s_exception_is_raised_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[Exception]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"hooks_{error.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(error):
        load_hook(f"{name}:x", VARIABLE)
