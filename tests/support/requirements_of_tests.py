"""What tests need of the machine: left out where it is missing, but never in CI.

A proof that was skipped proves nothing, so where ``CI=true`` a missing part is a failure.
"""

from __future__ import annotations

import os

import pytest


def require(reason: str | None) -> None:
    """Skip the test for `reason`; fail it if this is CI. None: go on."""
    if reason is None:
        return
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"cannot be left out in CI: {reason}", pytrace=False)
    pytest.skip(reason)
