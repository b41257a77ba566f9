"""The table of security requirements names tests that exist, and numbers them without a gap."""

from __future__ import annotations

import re

import pytest
from documents import ROOT

SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", SECURITY, re.MULTILINE)


def test_requirements_are_numbered_without_a_gap() -> None:
    assert [int(number) for number, _, _ in ROWS] == [*range(1, len(ROWS) + 1)]


@pytest.mark.parametrize(("number", "requirement", "shown_by"), ROWS, ids=[row[0] for row in ROWS])
def test_each_requirement_is_shown_by_tests_that_exist(
    number: str, requirement: str, shown_by: str
) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
    assert named, f"requirement {number} ({requirement}) names no test"
    assert len(named) == shown_by.count("`") // 2
    for path, name in named:
        defined = re.findall(r"^(?:async )?def (\w+)\(", (ROOT / path).read_text("utf-8"), re.M)
        assert name in defined, f"{path} has no {name}"
