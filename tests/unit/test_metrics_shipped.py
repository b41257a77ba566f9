"""The shipped dashboard and alert rules: right in themselves, and about metrics that exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from scraped import promtool

from wsgi_sessions.cli import main
from wsgi_sessions.metrics.catalogue import CATALOGUE, COUNTED_AT, OUTCOMES, PREFIX, PROCESSES
from wsgi_sessions.metrics.shipped import FILES, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from wsgi_sessions.metrics.shipped import Shipped

OF_PROMETHEUS = {"job", "le", "instance"}


def named(text: str) -> set[str]:
    """The metrics that a text names in queries: what stands before labels, or in brackets."""
    return set(re.findall(rf"{PREFIX}[a-z_]+(?=[{{)\[,])", text))


def series() -> dict[str, set[str]]:
    """Every series that a scrape has, with its labels."""
    found: dict[str, set[str]] = {f"{PREFIX}{PROCESSES}": set(), f"{PREFIX}{COUNTED_AT}": set()}
    for metric in CATALOGUE.values():
        suffixes = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        found |= {f"{metric.full_name}{suffix}": set(metric.labels) for suffix in suffixes}
    return found


@pytest.mark.parametrize("what", FILES)
def test_every_metric_that_is_named_exists(what: Shipped) -> None:
    text = text_of(what).replace("\\", "")
    assert len(named(text)) > 8
    assert named(text) <= series().keys()


@pytest.mark.parametrize("what", FILES)
def test_every_label_that_is_named_is_one_of_its_metric(what: Shipped) -> None:
    text = text_of(what).replace("\\", "")
    asked = re.findall(rf"({PREFIX}[a-z_]+){{([^}}]*)}}", text)
    assert asked
    for name, selector in asked:
        labels = set(re.findall(r'([a-z_]+)(?:=|!=|=~|!~)"', selector))
        assert labels <= series()[name] | OF_PROMETHEUS, name


@pytest.mark.parametrize("what", FILES)
def test_every_word_that_is_asked_for_is_one_of_its_label(what: Shipped) -> None:
    """A misspelt cause would never alert."""
    text = text_of(what).replace("\\", "")
    for metric in CATALOGUE.values():
        if metric.words:
            pattern = rf'{metric.full_name}[a-z_]*{{[^}}]*\b{metric.labels[0]}=~?"([^"]+)"'
            for words in re.findall(pattern, text):
                assert set(words.split("|")) <= set(metric.words), metric.name
    for words in re.findall(r'\boutcome(?:=|=~|!~)"([^"]+)"', text):
        assert set(words.split("|")) <= set(OUTCOMES)


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(text_of("alerts"))
    assert promtool("check", "rules", str(path)) == ""
    path.write_text(text_of("alerts").replace("sum by (job) (", "sum by job ", 1))
    assert promtool("check", "rules", str(path)) != "", "a broken query would be found"


def test_the_dashboard_says_what_each_panel_shows() -> None:
    dashboard = json.loads(text_of("dashboard"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 10
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert 'job=~"$job"' in target["expr"], "the choice of jobs counts in every panel"


@pytest.mark.parametrize("what", FILES)
def test_the_command_prints_the_file(what: Shipped) -> None:
    result = CliRunner().invoke(main, ["metrics", what])
    assert result.exit_code == 0
    assert result.output == text_of(what)
