"""Django's own tests of sessions, log-ins, messages, CSRF and its client, with this engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_suite
import pytest
from requirements_of_tests import require
from source_distribution import download, install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSTALLED = "installed"
RUNS: tuple[tuple[str, django_suite.Whose, str], ...] = (
    (INSTALLED, "ours", "file"),
    (INSTALLED, "django", "redis"),
    ("4.2.*", "django", "postgresql"),
    ("4.2.*", "ours", "sqlite"),
    ("5.2.*", "ours", "redis"),
)
"""Each store, wiring and version, and not all of them together, which is 24. What is installed is
the newest for this Python."""


@pytest.mark.soak
@pytest.mark.parametrize(("version", "middleware", "kind"), RUNS)
def test_django_s_own_tests(
    tmp_path: Path,
    store_url: Callable[[str], str | None],
    version: str,
    middleware: django_suite.Whose,
    kind: str,
) -> None:
    """They pass, but for what is listed with its reason in ``django_suite.py``."""
    other = None if version == INSTALLED else version
    suite = download("django", tmp_path, other)
    require(f"pip gets no source distribution of Django {version}" if suite is None else None)
    assert suite is not None
    folder = None if other is None else tmp_path / "installed"
    if other is not None and folder is not None:
        got = install("django", other, folder)
        require(None if got else f"pip installs no Django {version}")
    url = store_url(kind) or f"file://{tmp_path}/run"
    outcome = django_suite.run(suite, url, middleware, folder)
    assert outcome.failed <= django_suite.EXPECTED.keys(), outcome.output
    assert outcome.passed > 1050, outcome.output
