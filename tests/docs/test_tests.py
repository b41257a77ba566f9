"""The tests' own house: what they share is in ``tests/support/``, once, and under one name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
IMPORT = re.compile(r"^\s*(?:from|import)\s+(test_\w+)", re.MULTILINE)


def imported_tests(text: str) -> set[str]:
    """The test modules that a file imports, or has a program in it import."""
    here = {path.stem for path in FILES}
    return {name for name in IMPORT.findall(text) if name in here}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_test_is_imported(path: Path) -> None:
    found = imported_tests(path.read_text("utf-8"))
    assert not found, f"{path}: move what it needs of {found} to tests/support/"


def test_an_import_of_a_test_would_be_found() -> None:
    program = "import os\nRUN = '''\nfrom test_docs import x\n'''\nimport test_own_name"
    assert imported_tests(program) == {"test_docs"}


def classes() -> Iterator[tuple[str, Path]]:
    """The classes of tests and helpers, but for those that only their own file may use."""
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[Path]] = defaultdict(list)
    for name, path in classes():
        found[name].append(path.relative_to(TESTS))
    assert not {name: paths for name, paths in found.items() if len(paths) > 1}
