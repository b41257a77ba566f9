"""Source distributions of installed frameworks, whose own tests are not in their wheels."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def download(project: str, folder: Path) -> Path | None:
    """The unpacked source distribution of the installed version, or None where pip gets none."""
    version = importlib.metadata.version(project)
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words += ["--no-deps", "--no-binary", project, "--dest", str(folder), f"{project}=={version}"]
    if subprocess.run(words, capture_output=True, check=False, timeout=120).returncode:
        return None
    (archive_path,) = folder.glob("*.tar.gz")
    with tarfile.open(archive_path) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    return folder / archive_path.name.removesuffix(".tar.gz")
