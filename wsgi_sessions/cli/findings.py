"""The result of ``wsgi-sessions check``, in each of its formats, and its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import click

from wsgi_sessions.cli.output import print_columns, print_json, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsgi_sessions.operations.doctor import Examination
    from wsgi_sessions.operations.server_check import Finding

Format = Literal["text", "json", "github"]
FAULT = 1
WARNINGS = 3
"""Exit codes; 0: all is well, 2: wrong usage, or settings that make no sense."""
_COMMANDS = {"fault": "error", "warning": "warning"}
_TITLE = "wsgi-sessions check"

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(get_args(Format)),
    default="text",
    show_default=True,
    help="The output: for people, for programs, or annotations of a GitHub workflow.",
)


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """Return the code of the worst finding; without `strict`, a warning is well."""
    levels = {finding.level for finding in findings}
    if "fault" in levels:
        return FAULT
    return WARNINGS if strict and levels else 0


def print_examination(found: Examination, form: Format) -> None:
    """Print what was found."""
    if form == "json":
        print_json(found.as_dict())
    elif form == "github":
        for finding in found.findings:
            annotate(_COMMANDS[finding.level], finding.topic, finding.text)
        for text in found.advice:
            annotate("notice", "advice", text)
    else:
        _print_text(found)


def annotate(command: str, topic: str, text: str) -> None:
    """Print a workflow command of GitHub, which shows the text beside the run."""
    title = _escaped(f"{_TITLE} ({topic})").replace(":", "%3A").replace(",", "%2C")
    say(f"::{command} title={title}::{_escaped(text)}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _print_text(found: Examination) -> None:
    health = found.health
    say(f"{health.backend}: {'healthy' if health.healthy else 'not healthy'}")
    details = {k: v for k, v in health.details.items() if k not in ("error", "warnings") and v}
    if found.skew is not None:
        details["clock"] = f"{found.skew:+.3f} s" if found.skew else "in step"
    if details:
        print_columns([(f"  {name}", _text(value)) for name, value in details.items()])
    for finding in found.findings:
        say(f"{finding.level} ({finding.topic}): {finding.text}")
    for text in found.advice:
        say(f"advice: {text}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
