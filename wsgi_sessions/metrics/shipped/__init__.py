"""A dashboard for Grafana and alert rules for Prometheus, as text."""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Shipped = Literal["dashboard", "alerts"]
FILES: Mapping[Shipped, str] = MappingProxyType(
    {"dashboard": "dashboard.json", "alerts": "alerts.yml"}
)


def text_of(what: Shipped) -> str:
    """Return the text of a shipped file."""
    return files(__name__).joinpath(FILES[what]).read_text("utf-8")
