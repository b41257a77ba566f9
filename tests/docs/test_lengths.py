"""No module and no function grows beyond what one reads at a time."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_LINES = 350
MOST_LINES_OF_A_FUNCTION = 37  # with its docstring, from `def` to its end
MODULES = sorted((ROOT / "wsgi_sessions").rglob("*.py"))


def long_functions(source: str) -> Iterator[str]:
    """Yield the functions of a module that are too long."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield f"{node.name}: {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MOST_LINES
    assert not list(long_functions(source))


def test_a_long_function_would_be_found() -> None:
    body = "    x = 1\n" * MOST_LINES_OF_A_FUNCTION
    assert list(long_functions(f"def f():\n{body}")) == ["f: 38 lines"]
