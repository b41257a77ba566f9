"""The test-suites of Flask, of its extensions and of Pyramid, with their sessions kept here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask_suite
import pyramid_suite
import pytest
from requirements_of_tests import require
from source_distribution import download

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = {"flask": 400, "flask-login": 110, "flask-wtf": 75}
"""At least so many tests have to pass without this package: else it was not the suite."""


def unpacked(project: str, folder: Path) -> Path:
    suite = download(project, folder)
    require(f"pip gets no source distribution of {project}" if suite is None else None)
    assert suite is not None
    return suite


@pytest.mark.soak
@pytest.mark.parametrize("project", flask_suite.EXPECTED)
def test_the_suites_of_flask_and_its_extensions(tmp_path: Path, project: str) -> None:
    """They pass, but for what is listed with its reason in ``flask_suite.py``."""
    ours, without = flask_suite.compare(unpacked(project, tmp_path), tmp_path / "sessions")
    assert without.passed >= NUMBERS[project], without.output
    assert ours.failed == flask_suite.EXPECTED[project].keys(), ours.output
    assert ours.passed == without.passed - len(ours.failed)


@pytest.mark.soak
def test_pyramid_s_tests_of_a_session(tmp_path: Path) -> None:
    """They pass, but for those about a cookie that is the session: see ``pyramid_suite.py``."""
    outcome = pyramid_suite.run(unpacked("pyramid", tmp_path))
    assert not outcome.failed, outcome.output
    assert len(outcome.passed) >= 17, outcome.output
