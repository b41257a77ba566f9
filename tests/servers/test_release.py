"""A release: what `python -m build` makes of the repository, and what a host without it gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

import pytest
from demo_server import DemoServer
from documents import PAGES, ROOT
from requirements_of_tests import require

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.soak

MADE_BY_SETUPTOOLS = {"PKG-INFO", "setup.cfg"}
"""setuptools writes a ``setup.cfg`` of its own over ours, with the same settings."""


class Release(NamedTuple):
    """What one build made, and of which files."""

    files: set[str]
    source: Path
    wheel: Path


def run(*words: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(
        [*map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build(folder: Path, *options: str) -> Path:
    """Build what a folder has: the one file that was made, or the folder of both."""
    made = folder.with_name(f"{folder.name}-dist")
    run(sys.executable, "-m", "build", "--outdir", made, *options, folder)
    return made


def files_of_the_repository() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    require("this is no clone: git lists no files" if listed.returncode else None)
    return {name for name in listed.stdout.split("\0")[:-1] if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """As from a clone, with leftovers that no release may have."""
    clone = tmp_path_factory.mktemp("release") / "clone"
    files = files_of_the_repository()
    for name in files:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    for folder in ("wsgi_sessions", "tests/unit", "docs"):
        (clone / folder / "__pycache__").mkdir()
        (clone / folder / "__pycache__" / "left.cpython-310.pyc").touch()
    made = build(clone)
    (source,), (wheel,) = made.glob("*.tar.gz"), made.glob("*.whl")
    return Release(files, source, wheel)


def names_in(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def unpacked(release: Release, folder: Path) -> Path:
    with tarfile.open(release.source) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    return folder / release.source.name.removesuffix(".tar.gz")


def test_the_source_has_what_the_repository_has_and_nothing_else(
    release: Release, tmp_path: Path
) -> None:
    folder = unpacked(release, tmp_path)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    found = {name for name in found if ".egg-info/" not in name}
    assert found - MADE_BY_SETUPTOOLS == release.files - MADE_BY_SETUPTOOLS


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(release: Release) -> None:
    """Templates, styles, scripts, the dashboard and the marker of types among them."""
    package = {name for name in release.files if PurePath(name).parts[0] == "wsgi_sessions"}
    assert names_in(release.wheel) == package
    assert {PurePath(name).suffix for name in package} >= {".html", ".css", ".js", ".json", ".yml"}


def test_the_source_builds_the_same_wheel(release: Release, tmp_path: Path) -> None:
    again = build(unpacked(release, tmp_path), "--wheel")
    (wheel,) = again.glob("*.whl")
    assert wheel.name == release.wheel.name
    with ZipFile(release.wheel) as one, ZipFile(wheel) as other:
        assert {it.filename: it.CRC for it in one.infolist()} == {
            it.filename: it.CRC for it in other.infolist()
        }


def test_an_index_would_take_both(release: Release) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", release.source, release.wheel)


def test_the_description_links_to_no_host_that_does_not_have_it(release: Release) -> None:
    """There is no public address: none is invented."""
    with ZipFile(release.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = archive.read(name).decode().partition("\n\n")[0]
    assert re.search(r"^Keywords: .*sessions", headers, re.MULTILINE)
    assert not re.search(r"^(Home-page|Project-URL|Download-URL):", headers, re.MULTILINE)


def test_a_host_without_the_network_installs_the_wheel_and_runs_the_demonstration(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented way: collect wheels where there is a network, install them where not."""
    page = PAGES["howto/install"]
    assert "\n    pip download --dest wheels 'dist/" in page
    assert "\n    pip install --no-index --find-links wheels 'wsgi-sessions[demo]'\n" in page
    wheels = tmp_path / "wheels"
    run(sys.executable, "-m", "pip", "download", "-q", "--dest", wheels, f"{release.wheel}[demo]")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    options = ("-q", "--no-index", "--find-links", wheels)
    run(python, "-m", "pip", "install", *options, "wsgi-sessions[demo]", folder=tmp_path)
    with DemoServer(tmp_path, python=python) as server:
        shown = server.visitor().get()
        names = re.findall(r'(?:href|src)="([^"#]+)"', shown.text)
        assert names
        for name in names:
            assert not re.match(r"(\w+:)?//", name), "of another host"
            assert server.visitor().get(f"/{name.lstrip('/')}").status == 200, name
        assert server.visitor().get("/health/session").json["healthy"]
