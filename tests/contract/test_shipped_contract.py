"""`SessionStoreContract` as others use it: a store that is not ours passes, and one with a bug does
not, whichever law it breaks."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import mutants_under_contract
import pytest
from documents import ROOT
from shelf_store import open_shelf
from store_mutants import MUTANTS

from wsgi_sessions.testing import (
    ContextStoreContract,
    EndTracesContract,
    LeaseStoreContract,
    RefreshQueueContract,
    SessionStoreContract,
    StoreUnderTest,
    VersionStampsContract,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CASES = Path(mutants_under_contract.__file__)


class TestShelf(
    SessionStoreContract,
    VersionStampsContract,
    ContextStoreContract,
    EndTracesContract,
    LeaseStoreContract,
    RefreshQueueContract,
):
    """Dictionaries on shelves."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> StoreUnderTest:
        return StoreUnderTest(partial(open_shelf, tmp_path / "shelf"))


# These find their mutant by racing it again and again; in the long runs only.
RACES = {
    name for name in MUTANTS if {"racing", "process", "processes", "reader"} & {*name.split("_")}
}
LAWS = {name.removeprefix("test_") for name in dir(TestShelf) if name[:5] == "test_"}


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ET.Element:
    """The report of a run of its own: each mutant under the law that it breaks."""
    left_out = set() if request.config.getoption("--soak") else RACES
    file = tmp_path_factory.mktemp("mutants") / "report.xml"
    options = ["-o", "addopts=", "-q", "-p", "no:cacheprovider", f"--junit-xml={file}"]
    cases = [f"{CASES}::Test_{name}::test_{name}" for name in MUTANTS if name not in left_out]
    cases.append(f"{CASES}::TestNothing::test_create_never_replaces")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *cases],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert file.exists(), done.stdout + done.stderr
    return ET.parse(file).getroot()


@pytest.fixture(scope="module")
def outcomes(report: ET.Element) -> Mapping[str, set[str]]:
    """The outcomes of each mutant, by the law that it breaks."""
    found: dict[str, set[str]] = {}
    for case in report.iter("testcase"):
        name = case.attrib["name"].partition("[")[0].removeprefix("test_")
        found.setdefault(name, set()).add(next((child.tag for child in case), "passed"))
    return found


def test_every_law_has_a_mutant() -> None:
    assert set(MUTANTS) == LAWS


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(name, marks=[pytest.mark.soak] if name in RACES else [])
        for name in sorted(MUTANTS)
    ],
)
def test_a_store_that_breaks_a_law_is_found_out(law: str, outcomes: Mapping[str, set[str]]) -> None:
    assert "failure" in outcomes[law], outcomes[law]


def test_a_class_without_a_store_is_told_what_it_needs(report: ET.Element) -> None:
    (error,) = report.iterfind(".//testcase/error")
    assert "TestNothing needs a fixture 'store' that returns a StoreUnderTest" in str(error.text)
