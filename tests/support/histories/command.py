"""The commands: make runs, and judge a history again."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from gunicorn_server import WORKER_CLASSES

from histories.checkers import judge
from histories.faults import FAULTS, faults_of
from histories.places import PLACES
from histories.record import read, write
from histories.runs import Plan, run
from histories.shrink import shrink
from histories.table import add, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from histories.runs import Result

_SHOWN = 8  # violations of a run: one broken promise may be seen by many requests


@click.group()
def main() -> None:
    """Histories of real servers under faults, judged by what is promised."""


@main.command("run")
@click.option("--seconds", default=3600.0, show_default=True, help="How long, in all.")
@click.option("--each", default=30.0, show_default=True, help="Seconds of each run.")
@click.option("--place", "places", multiple=True, type=click.Choice(sorted(PLACES)))
@click.option("--worker-class", "kinds", multiple=True, type=click.Choice(WORKER_CLASSES))
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(["none", *FAULTS]),
    help="All, each for itself.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--keep", default="histories-found", show_default=True, type=Path, help="A folder.")
@click.option("--table", type=Path, help="A file to which each run adds a line, for `table`.")
def run_them(
    seconds: float,
    each: float,
    places: Sequence[str],
    kinds: Sequence[str],
    faults: Sequence[str],
    seed: int,
    keep: Path,
    table: Path | None,
) -> None:
    """Go round all combinations until the time is over. Ends with 1 if a violation was found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are to be stopped, too
    until, found = time.monotonic() + seconds, 0
    for plan in _plans(places or list(PLACES), kinds or WORKER_CLASSES, faults, each, seed):
        if time.monotonic() > until:
            break
        result = run(plan)
        click.echo(summary(result))
        if table is not None:
            add(result, table)
        if result.violations:
            found += len(result.violations)
            click.echo(keep_failing(result, keep))
    sys.exit(1 if found else 0)


def _plans(
    places: Sequence[str], kinds: Sequence[str], faults: Sequence[str], each: float, seed: int
) -> Iterator[Plan]:
    """Round and round, each place under each of its faults, another kind of worker each time."""
    for round_ in itertools.count(seed):
        for place in places:
            possible = ["none", *faults_of(place)]
            for number, fault in enumerate(f for f in possible if not faults or f in faults):
                kind = kinds[(round_ + number) % len(kinds)]
                chosen = () if fault == "none" else (fault,)
                yield Plan(place, kind, each, round_, chosen)  # type: ignore[arg-type]


@main.command("table")
@click.argument("path", type=Path)
def print_table(path: Path) -> None:
    """The lines that runs added to a file, summed up in Markdown."""
    click.echo(table_of(path))


@main.command("judge")
@click.argument("path", type=Path)
@click.option("--show", is_flag=True, help="Print the operations, too.")
def judge_again(path: Path, *, show: bool) -> None:
    """Judge a history that was kept. Ends with 1 if it has a violation."""
    history = read(path)
    if show:
        click.echo("\n".join(map(str, history.operations)))
    violations = judge(history)
    click.echo("\n".join(map(str, violations)) or "no violation")
    sys.exit(1 if violations else 0)


def summary(result: Result) -> str:
    """A run in one line."""
    return (
        f"{result.plan}, {result.strikes} times: {len(result.history.operations)} operations, "
        f"{len(result.violations)} violations, {result.refused} refused, "
        f"unavailable for {result.unavailable:.1f} s at most"
    )


def keep_failing(result: Result, folder: Path) -> str:
    """Write the smallest part of the history that shows the first violation, and the whole."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = result.plan
    name = "-".join([plan.place, *plan.faults, plan.worker_class, str(plan.seed)])
    whole, small = folder / f"{name}.jsonl", folder / f"{name}-small.jsonl"
    write(result.history, whole)
    write(shrink(result.history, result.violations[0]), small)
    lines = [f"  {violation}" for violation in result.violations[:_SHOWN]]
    if len(result.violations) > _SHOWN:
        lines.append(f"  and {len(result.violations) - _SHOWN} more")
    return "\n".join([*lines, f"  kept: {whole}, {small}"])
