"""Which of many combinations the default run has; the others are for the long runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gunicorn_server import WORKER_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.mark import ParameterSet
    from gunicorn_server import WorkerClass

_STORES = ("file", "redis", "sqlite", "postgresql")
COMBINATIONS = [(store, worker_class) for store in _STORES for worker_class in WORKER_CLASSES]
_BY_DEFAULT = [("file", "gthread"), ("redis", "gevent")]


def spread(default: Sequence[tuple[str, str]]) -> list[ParameterSet]:
    """All stores under all worker classes; these pairs by default."""
    return [
        pytest.param(pair, marks=[] if pair in default else [pytest.mark.soak])
        for pair in COMBINATIONS
    ]


SPREAD = spread(_BY_DEFAULT)


def classes_by_default(*names: WorkerClass) -> list[ParameterSet]:
    """All worker classes; these by default."""
    return [
        pytest.param(name, marks=[] if name in names else [pytest.mark.soak])
        for name in WORKER_CLASSES
    ]
