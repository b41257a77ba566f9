"""A server's metrics, scraped and read, and what promtool says of them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from requirements_of_tests import require

if TYPE_CHECKING:
    from collections.abc import Mapping

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """The samples of one answer. Names are without ``wsgi_sessions_``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: Samples = {
            (sample.name.removeprefix("wsgi_sessions_"), frozenset(sample.labels.items())): (
                sample.value
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one series; 0 for one that has not begun."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def of(self, name: str, **labels: str) -> dict[str, float]:
        """What is not zero of a metric, by the labels that are not given."""
        found: dict[str, float] = {}
        for (sample, words), value in self.samples.items():
            if sample == name and value and labels.items() <= dict(words).items():
                found[" ".join(sorted(_rest(dict(words), labels)))] = value
        return found


def _rest(words: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    return [word for name, word in words.items() if name not in given]


def promtool(*words: str, text: str | None = None) -> str:
    """What ``promtool`` says, if it finds a fault; else nothing."""
    path = shutil.which("promtool")
    require(None if path else "promtool is not installed (Debian: prometheus)")
    result = subprocess.run(
        [str(path), *words], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr
