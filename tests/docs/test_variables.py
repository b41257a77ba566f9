"""Below `stack/` no module knows an environment variable: messages name attributes of `Config`."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest
from house import FLOORS, MODULES

from wsgi_sessions import Config, ConfigurationError, CookiePolicy, build
from wsgi_sessions.stack.config import SETTINGS, with_variables

if TYPE_CHECKING:
    from pathlib import Path

ABOVE = {room for floor in FLOORS[FLOORS.index(("stack",)) :] for room in floor}
BELOW = sorted(name for name in MODULES if name.partition(".")[0] not in ABOVE)
PREFIX = "WSGI_SESSIONS_"
# What stands in backticks in a message and is an attribute, or a part of a call, of something else.
_ATTRIBUTE = re.compile(r"`([a-z_]+(?:\.[a-z_]+)?)(?:=[^`\s]+)?`")
# `CookiePolicy` has it, and no variable asks for it.
WITHOUT_VARIABLE = {"cookie.httponly"}


def declared(tree: ast.Module) -> set[ast.AST]:
    """The variables that a feature's `settings` module declares, for `stack/` to read."""
    return {
        call.args[0]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("setting", "SecretFile")
    }


def docstrings(tree: ast.Module) -> set[ast.AST]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def texts_of(path: Path) -> list[tuple[ast.Constant, str]]:
    tree = ast.parse(path.read_text())
    skipped = declared(tree) if path.name == "settings.py" else set()
    return [
        (node, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped
    ]


@pytest.mark.parametrize("name", BELOW)
def test_no_module_below_stack_names_a_variable(name: str) -> None:
    found = [text for _, text in texts_of(MODULES[name]) if PREFIX in text]
    assert found == []


@pytest.mark.parametrize("name", BELOW)
def test_messages_name_attributes_that_exist(name: str) -> None:
    """A word in backticks in a message (docstrings aside) is an attribute of `Config`."""
    path = MODULES[name]
    told = docstrings(ast.parse(path.read_text()))
    lines = {(node.lineno, node.col_offset) for node in told if isinstance(node, ast.Constant)}
    for node, text in texts_of(path):
        if (node.lineno, node.col_offset) not in lines:
            for attribute in _ATTRIBUTE.findall(text):
                assert attribute in {*SETTINGS, *WITHOUT_VARIABLE}, text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise `max_size`", "raise WSGI_SESSIONS_MAX_SIZE"),
        ("set `cookie.secure=always`", "set WSGI_SESSIONS_COOKIE_SECURE=always"),
        ("set `cookie.partitioned=True`", "set WSGI_SESSIONS_COOKIE_PARTITIONED=on"),
        ("`cookie.httponly=False`: leave that out", "`cookie.httponly=False`: leave that out"),
        ("`imports.source`: no folder", "WSGI_SESSIONS_IMPORT_FROM: no folder"),
        ("a value such as '`max_size`'", "a value such as '`max_size`'"),
        ("a max_size of 5", "a max_size of 5"),
    ],
)
def test_the_variable_of_each_attribute_is_named(text: str, told: str) -> None:
    assert with_variables(text) == told


def test_errors_of_a_built_application_name_variables(tmp_path: Path) -> None:
    """A policy that is built by hand is told of its attributes."""
    with pytest.raises(ConfigurationError, match=r"^`cookie\.samesite=None` needs"):
        CookiePolicy(samesite="None")
    with pytest.raises(ConfigurationError, match=r"^WSGI_SESSIONS_COOKIE_SAMESITE=None needs"):
        Config.from_environ({"HOME": str(tmp_path), "WSGI_SESSIONS_COOKIE_SAMESITE": "None"})
    (tmp_path / "s").write_text("")
    with pytest.raises(ConfigurationError, match="name another one in WSGI_SESSIONS_URL"):
        build(lambda _environ, _start: [], Config(url=f"file://{tmp_path}/s"))
