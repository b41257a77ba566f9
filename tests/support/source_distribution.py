"""Source distributions of frameworks, whose own tests are not in their wheels; other versions."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def download(project: str, folder: Path, version: str | None = None) -> Path | None:
    """The unpacked source distribution, or None where pip gets none.

    By default that of the installed version; else the newest of this one, such as ``4.2.*``.
    """
    wanted = f"{project}=={version or importlib.metadata.version(project)}"
    if not _pip("download", "--no-binary", project, "--dest", str(folder), wanted):
        return None
    (archive_path,) = folder.glob("*.tar.gz")
    with tarfile.open(archive_path) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    return folder / archive_path.name.removesuffix(".tar.gz")


def install(project: str, version: str, folder: Path) -> bool:
    """Install a version such as ``4.2.*`` into a folder, for a PYTHONPATH; say whether pip did."""
    return _pip("install", "--target", str(folder), f"{project}=={version}")


def _pip(command: str, *words: str) -> bool:
    begin = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*begin, "--no-deps", *words], capture_output=True, check=False, timeout=180
    )
    return done.returncode == 0
