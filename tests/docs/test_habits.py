"""Pre-commit, tox, coverage, the workflow and the templates: all kept in step.

What each of them runs is what CONTRIBUTING.md and .ci/run run.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from typing import TYPE_CHECKING

import pytest
from documents import CONTRIBUTING, ROOT, blocks, codes

if TYPE_CHECKING:
    from pathlib import Path

CI = (ROOT / ".ci" / "run").read_text()
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()


def configured(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


SETUP = configured("setup.cfg")
COMMANDS = re.findall(
    r"^    (\S.*?)(?:  +#.*)?$",
    CONTRIBUTING.partition("## Before the")[0],
    re.MULTILINE,
)


@pytest.mark.parametrize(
    "name",
    [
        ".pre-commit-config.yaml",
        "tox.ini",
        "setup.cfg",
        ".github/workflows/ci.yml",
        ".github/",
        "docs/reference/api.md",
    ],
)
def test_they_are_there_and_contributing_names_them(name: str) -> None:
    assert (ROOT / name).exists()
    assert name in codes(CONTRIBUTING) or f"]({name})" in CONTRIBUTING


def test_pre_commit_runs_the_checks_of_ci_and_no_other() -> None:
    entries = re.findall(r"entry: (.*)", HOOKS)
    checks = [entry.replace(" --force-exclude", "") for entry in entries]
    assert checks == [".venv/bin/ruff check", ".venv/bin/ruff format --check", ".venv/bin/mypy"]
    for check in checks:
        assert re.search(rf"^{re.escape(check)}(?: \.)?$", CI, re.MULTILINE), check
        assert any(check in command for command in COMMANDS), check
    assert "pre-commit install" in COMMANDS


def test_tox_has_each_python_that_is_supported() -> None:
    classifiers = SETUP["metadata"]["classifiers"]
    supported = re.findall(r":: 3\.(\d+)$", classifiers, re.MULTILINE)
    tox = configured("tox.ini")
    assert tox["tox"]["env_list"].split(", ") == [f"py3{minor}" for minor in supported]
    assert tox["tox"].getboolean("skip_missing_interpreters")
    assert tox["testenv"]["extras"] == "test"
    assert tox["testenv"]["commands"] == "pytest {posargs}"
    assert "tox" in COMMANDS


def test_coverage_has_a_floor_and_costs_the_default_run_nothing() -> None:
    assert 0 < float(SETUP["coverage:report"]["fail_under"]) < 100
    assert "--cov" not in SETUP["tool:pytest"]["addopts"]
    assert "pytest-cov" in SETUP["options.extras_require"]["test"]
    assert ".venv/bin/pytest --cov" in COMMANDS


def test_the_workflow_runs_the_one_script() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    steps = re.findall(r"^      - run: (.*)$", workflow, re.MULTILINE)
    assert steps[-1] == "bash .ci/run"
    assert "bash .ci/run" in COMMANDS
    assert not blocks("yaml", CONTRIBUTING), "the file is the one description"


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.md")), ids=lambda p: p.name)
def test_templates_name_files_that_exist(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"\b[A-Z]+\.md\b", text):
        assert (ROOT / name).exists(), name
