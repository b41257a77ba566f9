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


# -- what is private stays so ----------------------------------------------------------------------

MOST_REACHES = 58
"""Lines of tests that reach into private names; a new seam lowers the number, nothing raises it."""
OFFERED = {"_asdict", "_replace", "_fields", "_getframe", "_exit"}  # by Python, under such a name
OWN = {"self", "cls"}


def reaches(source: str) -> Iterator[ast.Attribute]:
    """Private attributes of anything but the object itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            if owner not in OWN and node.attr not in OFFERED:
                yield node


def test_tests_reach_into_privates_less_and_less() -> None:
    found = {
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in FILES
        for node in reaches(path.read_text("utf-8"))
    }
    assert len(found) <= MOST_REACHES, "\n".join(sorted(found))


def test_a_reach_into_privates_would_be_found() -> None:
    source = "self._mine + store._records + a.b()._c + pair._asdict() + x.__class__"
    assert {node.attr for node in reaches(source)} == {"_records", "_c"}
